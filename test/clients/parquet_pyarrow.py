"""pyarrow on a Parquet file, over fsspec's HTTP file system."""

from pathlib import Path

import fsspec
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from fsspec.implementations.http import HTTPFile

from checks import check, given

LOCAL = Path(given["folder"], "files/table.parquet")
SIGNED: str = given["roots"]["files"]["signed"] + "table.parquet"
BARE: str = given["roots"]["files"]["bare"] + "table.parquet"
CAPABILITY: str = given["roots"]["files"]["capability"]

table = pq.read_table(LOCAL)
size = LOCAL.stat().st_size
http = fsspec.filesystem("http")


class CountedFile:
    """A file that knows how many bytes were asked of it: what a projection or a filter is for."""

    def __init__(self, file: HTTPFile):
        self.file, self.bytes = file, 0

    def read(self, length: int = -1) -> bytes:
        found = self.file.read(length)
        self.bytes += len(found)
        return found

    def __getattr__(self, name: str):
        return getattr(self.file, name)


def opened(url: str = SIGNED, **options: object) -> CountedFile:
    # Without a cache each read is one range of just that length.
    return CountedFile(http.open(url, cache_type="none", **options))


file = opened()
read = pq.read_table(file)
check(f"every row and column ({table.num_rows} rows, {size} bytes)", read.equals(table), read.num_rows)

file = opened()
parquet = pq.ParquetFile(file)
check("the footer tells the row groups", parquet.metadata.equals(pq.ParquetFile(LOCAL).metadata), parquet.metadata)
check("the footer alone is read for it: less than 100 KB", 0 < file.bytes < 100_000, file.bytes)
groups = [parquet.read_row_group(group) for group in range(parquet.num_row_groups)]
rows = 0
for group in groups:
    rows += group.num_rows if group.equals(table.slice(rows, group.num_rows)) else 0
check(f"{len(groups)} row groups, one by one", len(groups) == 8 and rows == table.num_rows, rows)

file = opened()
read = pq.ParquetFile(file).read(columns=["day", "place.lat"])
local = pq.ParquetFile(LOCAL).read(columns=["day", "place.lat"])
check("one column, and one of a nested column", read.num_rows == table.num_rows and read.equals(local), read.schema)
check("the other columns are not read: less than half of the file", 0 < file.bytes < size / 2, file.bytes)

file = opened()
condition = [("id", ">=", 110_000), ("id", "<", 110_100)]
read = pq.read_table(file, filters=condition)
check("the rows of a condition", read.num_rows == 100 and read.equals(table.slice(110_000, 100)), read.num_rows)
check("the other row groups are not read: less than a quarter of the file", 0 < file.bytes < size / 4, file.bytes)

scanned = ds.dataset(SIGNED, filesystem=http, format="parquet")
read = scanned.to_table()
check("as a dataset, with fsspec's read-ahead", read.equals(table), read.num_rows)

file = opened(BARE, headers={"Authorization": f"Bearer {CAPABILITY}"})
check("the capability in a header", pq.read_table(file).equals(table))
file = opened(f"{BARE}?token={CAPABILITY}")
check("the capability in the query, which a single file keeps", pq.read_table(file).equals(table))
