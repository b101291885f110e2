"""polars on the Parquet files of a sealed version: from disk, and by its own HTTP reader over their signed URLs."""

import polars as pl

from sealed_manifest import CHANGE_COLUMNS, COLUMNS, FILES, PREFIX, WAYS, answers_of, check_answers

for way in WAYS:
    manifest = pl.scan_parquet(FILES["manifest"][way])
    totals = manifest.select(pl.len(), pl.col("size").sum()).collect().row(0)
    below = manifest.filter(pl.col("key").str.starts_with(PREFIX)).select("key").collect()["key"].to_list()
    stages = manifest.group_by("stage").agg(pl.len(), pl.col("size").sum()).collect().rows()
    rows = manifest.select(COLUMNS).collect().rows()
    changes = pl.scan_parquet(FILES["changes"][way]).select(CHANGE_COLUMNS).collect().rows()
    by_stage = {stage: (objects, size) for stage, objects, size in stages}
    check_answers(way, answers_of(totals, sorted(below), by_stage, rows, changes))
