"""Writes the files that are read whole and in ranges: of no byte, one, a mebibyte and many, and a Parquet table."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from checks import given

MIB = 2**20
FILES = Path(given["folder"], "files")
FILES.mkdir()

chance = np.random.default_rng(64)
SIZES = {
    "none": 0,
    "one": 1,
    "mebibyte-less-one": MIB - 1,
    "mebibyte": MIB,
    "mebibyte-and-one": MIB + 1,
    "two-mebibytes": 2 * MIB,
    "many-mebibytes": 9 * MIB + 12_345,
}
for name, size in SIZES.items():
    (FILES / f"{name}.bin").write_bytes(chance.bytes(size))

# Several MB in row groups of 25,000; `id` is sorted, so that its statistics rule row groups out.
ROWS, GROUP_ROWS = 200_000, 25_000
ids = np.arange(ROWS)
lengths = chance.integers(0, 4, ROWS)
offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
tags = pa.array(chance.choice(["storm", "calm", "fog", "sölar"], offsets[-1]))
missing = chance.random(ROWS) < 0.05
table = pa.table(
    {
        "id": pa.array(ids),
        "value": pa.array(chance.standard_normal(ROWS), mask=missing),
        "name": pa.array([f"station {number % 997}" for number in ids]),
        "place": pa.StructArray.from_arrays(
            [pa.array(chance.uniform(-90, 90, ROWS)), pa.array(chance.uniform(-180, 180, ROWS))], names=["lat", "lon"]
        ),
        "tags": pa.ListArray.from_arrays(pa.array(offsets), tags),
        "day": pa.array(ids // 24, pa.int32()).cast(pa.date32()),
    }
)
pq.write_table(table, FILES / "table.parquet", row_group_size=GROUP_ROWS, compression="zstd", data_page_size=64 * 1024)
