"""
The arrays of the matrix of Zarr stores: what is written, and what every reader must get. numpy alone says what that is:
where nothing is written there are fill values.
"""

from dataclasses import dataclass

import numpy as np

GROUPS: dict[str, dict[str, object]] = {
    "": {"title": "a nested store", "numbers": [1, 2.5, None], "text": "Grüße, 世界"},
    "weather": {"source": "made up"},
    "weather/daily": {"step": {"unit": "day", "length": 1}},
    "dtypes": {},
}

# Data types by numpy's name, each with a fill value that no default would give. A double holds each exactly: numbers in
# JSON are no more than that to JavaScript.
DTYPES = {
    "bool": True,
    "int8": -3,
    "uint8": 250,
    "int16": -30_000,
    "uint16": 60_000,
    "int32": -2_000_000_000,
    "uint32": 4_000_000_000,
    "int64": -(2**62),
    "uint64": 2**63,
    "float16": -0.5,
    "float32": np.inf,
    "float64": np.nan,
    "complex64": 1.5 - 2j,
}
CODECS = ("zstd", "blosc", "gzip", "none", "crc32c")


@dataclass(frozen=True)
class Array:
    path: str
    values: np.ndarray
    """What a reader must get: fill values wherever `written` has no part."""
    chunks: tuple[int, ...]
    written: tuple[tuple[slice, ...], ...]
    fill_value: object
    dimensions: tuple[str, ...]
    codec: str = "zstd"
    order: str = "little"
    shards: tuple[int, ...] | None = None
    """Of the sharded stores."""
    index: str = "end"
    """Where a shard's index is."""


def arrays() -> list[Array]:
    chance = np.random.default_rng(20_161)
    all_of = slice(None)
    grid = {"chunks": (10, 16), "shards": (20, 32), "dimensions": ("lat", "lon")}
    # Of 6 x 4 chunks a block of four (a whole shard), one single chunk and the last row are missing.
    holed = ((slice(0, 20), slice(0, 32)), (slice(20, 50), slice(16, 64)), (slice(0, 10), slice(48, 64)))
    made = [
        array(chance, "weather/lat", "float64", (55,), ((all_of,),), np.nan, (55,), (55,), ("lat",)),
        array(chance, "weather/lon", "float64", (64,), ((all_of,),), 0.0, (16,), (32,), ("lon",), codec="none"),
        array(chance, "weather/temperature", "float32", (55, 64), holed, np.nan, **grid, codec="zstd"),
        array(chance, "weather/counts", "int32", (55, 64), holed, -7, **grid, codec="gzip", index="start"),
        array(chance, "weather/whole", "int16", (55, 64), ((all_of, all_of),), 0, **grid, codec="blosc"),
        array(chance, "weather/nothing", "float64", (55, 64), (), 1e300, **grid, codec="crc32c"),
        array(
            chance,
            "weather/daily/rain",
            "uint16",
            (3, 55, 64),
            ((slice(0, 1), all_of, all_of), (slice(2, 3), slice(0, 20), slice(0, 32))),
            9999,
            (1, 10, 16),
            (1, 20, 32),
            ("day", "lat", "lon"),
            codec="crc32c",
        ),
        array(chance, "scalar", "float64", (), ((),), -1.0, (), (), ()),
        array(chance, "empty", "int32", (0, 4), (), 5, (2, 4), (2, 4), ("none", "four"), codec="gzip"),
        array(chance, "big-endian", "int32", (30,), ((slice(0, 16),),), 77, (8,), (16,), ("n30",), order="big"),
    ]
    for position, (dtype, fill) in enumerate(DTYPES.items()):
        codec = CODECS[position % len(CODECS)]
        # The last chunk reaches past the end; the one before it is missing.
        written = ((slice(0, 4),), (slice(8, 10),))
        made.append(array(chance, f"dtypes/{dtype}", dtype, (10,), written, fill, (4,), (8,), ("n10",), codec=codec))
    return made


def large_arrays() -> list[Array]:
    """Chunks and shards of more than 8 MiB, of noise, which no codec makes smaller."""
    chance = np.random.default_rng(8_388_608)
    whole = (slice(None), slice(None))
    shape, dimensions = (1536, 1792), ("y", "x")
    return [
        array(chance, "shard", "uint32", shape, (whole,), 1, (128, 128), shape, dimensions, index="end"),
        array(chance, "shard-index-first", "uint32", shape, (whole,), 1, (128, 128), shape, dimensions, index="start"),
        array(chance, "chunk", "uint32", shape, (whole,), 1, shape, None, dimensions, codec="none"),
    ]


def array(chance, path, dtype, shape, written, fill, chunks, shards, dimensions, **other) -> Array:
    values = np.full(shape, fill, dtype)
    for part in written:
        values[part] = noise(chance, dtype, values[part].shape)
    return Array(path, values, chunks, tuple(written), fill, dimensions, shards=shards, **other)


def noise(chance: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    dtype = np.dtype(name)
    if dtype.kind == "b":
        return chance.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return chance.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    if dtype.kind == "c":
        return (chance.standard_normal(shape) + 1j * chance.standard_normal(shape)).astype(dtype)
    return chance.standard_normal(shape).astype(dtype)
