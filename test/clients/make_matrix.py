"""
Writes the matrix of Zarr stores with zarr-python: v2 and v3, sharded or not, "." and "/" between chunk indices, with
consolidated metadata and without. Each holds the same nested groups and arrays; `truth` gets their values as raw
little-endian bytes, for readers that are not written in Python, and matrix.json, which says what is where.
"""

import json
import math
from pathlib import Path

import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ZstdCodec

from checks import given
from matrix_arrays import GROUPS, Array, arrays, large_arrays

STORES = Path(given["folder"], "matrix")
TRUTH = Path(given["truth"])

V2_CODECS = {
    "zstd": numcodecs.Zstd(level=3),
    "blosc": numcodecs.Blosc(cname="lz4"),
    "gzip": numcodecs.GZip(level=5),
    "none": None,
    "crc32c": numcodecs.Zlib(level=1),  # v2 readers other than numcodecs know no checksum
}
V3_CODECS = {
    "zstd": [ZstdCodec(level=3)],
    "blosc": [BloscCodec(cname="zstd")],
    "gzip": [GzipCodec(level=5)],
    "none": None,
    "crc32c": [ZstdCodec(level=3), Crc32cCodec()],
}


def write_array(root: zarr.Group, array: Array, version: int, separator: str, sharded: bool) -> None:
    shards = {"shape": array.shards, "index_location": array.index} if sharded and array.shards else None
    names = {"dimension_names": array.dimensions, "attributes": {"units": "1", "path": array.path}}
    if version == 2:
        names = {"attributes": names["attributes"] | {"_ARRAY_DIMENSIONS": list(array.dimensions)}}
    dtype = array.values.dtype.newbyteorder(">") if version == 2 and array.order == "big" else array.values.dtype
    made = root.create_array(
        array.path,
        shape=array.values.shape,
        dtype=dtype,
        chunks=array.chunks,
        shards=shards,
        filters=None,
        fill_value=array.fill_value,
        compressors=(V2_CODECS if version == 2 else V3_CODECS)[array.codec],
        chunk_key_encoding={"name": "v2" if version == 2 else "default", "separator": separator},
        **({} if version == 2 else {"serializer": BytesCodec(endian=array.order)}),
        **names,
    )
    for part in array.written:
        made[part] = array.values[part]


def write_store(version: int, sharded: bool, separator: str, consolidated: bool) -> dict[str, object]:
    words = [f"v{version}", *(["sharded"] if sharded else []), {".": "dot", "/": "slash"}[separator]]
    name = "-".join(words if consolidated else [*words, "plain"])
    root = zarr.create_group(STORES / name, zarr_format=version, attributes=GROUPS[""])
    for path, attributes in GROUPS.items():
        if path != "":
            root.create_group(path, attributes=attributes)
    for array in arrays():
        write_array(root, array, version, separator, sharded)
    if consolidated:
        zarr.consolidate_metadata(STORES / name)
    return {"name": name, "version": version, "sharded": sharded, "consolidated": consolidated}


def check_holes(store: dict[str, object]) -> None:
    """That chunks are missing is what all else rests on."""
    for array in arrays():
        size = array.shards if store["sharded"] else array.chunks
        is_written = np.zeros(array.values.shape, bool)
        for part in array.written:
            is_written[part] = True
        grid = [math.ceil(length / step) for length, step in zip(is_written.shape, size, strict=True)]
        expected = sum(is_written[cells(place, size)].any() for place in np.ndindex(*grid))
        files = [file for file in Path(STORES, store["name"], array.path).rglob("*") if file.is_file()]
        found = sum(1 for file in files if not file.name.startswith((".z", "zarr.json")))
        if found != expected:
            raise SystemExit(f"{store['name']}/{array.path}: {found} chunks of {math.prod(grid)}, expected {expected}")


def cells(place: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(index * step, (index + 1) * step) for index, step in zip(place, size, strict=True))


def dump(made: list[Array]) -> list[dict[str, object]]:
    """Values as raw little-endian bytes, in C order."""
    listed = []
    for array in made:
        file = f"{array.path.replace('/', '_')}.bin"
        (TRUTH / file).write_bytes(array.values.tobytes())
        dtype, shape = array.values.dtype.name, array.values.shape
        listed.append({"path": array.path, "file": file, "dtype": dtype, "shape": shape, "index": array.index})
    return listed


stores = [
    write_store(version, sharded, separator, consolidated)
    for version, sharded in ((2, False), (3, False), (3, True))
    for separator, consolidated in ((".", True), ("/", True), ("/", False))
]
for store in stores:
    check_holes(store)

large = zarr.create_group(STORES / "large", zarr_format=3)
for array in large_arrays():
    write_array(large, array, 3, "/", sharded=True)

written = {"stores": stores, "groups": GROUPS, "arrays": dump(arrays()), "large": dump(large_arrays())}
(TRUTH / "matrix.json").write_text(json.dumps(written), encoding="utf-8")
