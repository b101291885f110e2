"""
pyarrow on the Parquet files of a sealed version: from disk, and by their signed URLs over fsspec's HTTP file system, for it
reads no HTTP of its own.
"""

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from sealed_manifest import CHANGE_COLUMNS, COLUMNS, FILES, PREFIX, WAYS, answers_of, check_answers

FILESYSTEMS = {"from disk": None, "over signed URLs": fsspec.filesystem("http")}


def tuples(table: pa.Table) -> list[tuple]:
    return [tuple(row.values()) for row in table.to_pylist()]


for way in WAYS:
    manifest = ds.dataset(FILES["manifest"][way], format="parquet", filesystem=FILESYSTEMS[way])
    totals = (manifest.count_rows(), pc.sum(manifest.to_table(["size"])["size"]).as_py())
    below = manifest.to_table(["key"], filter=pc.starts_with(pc.field("key"), PREFIX))["key"].to_pylist()
    grouped = manifest.to_table(["stage", "size"]).group_by("stage").aggregate([("size", "count"), ("size", "sum")])
    by_stage = {row["stage"]: (row["size_count"], row["size_sum"]) for row in grouped.to_pylist()}
    rows = tuples(manifest.to_table(list(COLUMNS)))
    changed = ds.dataset(FILES["changes"][way], format="parquet", filesystem=FILESYSTEMS[way])
    changes = tuples(changed.to_table(list(CHANGE_COLUMNS)))
    check_answers(way, answers_of(totals, sorted(below), by_stage, rows, changes))
