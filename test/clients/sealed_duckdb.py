"""DuckDB on the Parquet files of a sealed version: from disk, and by httpfs over their signed URLs."""

import importlib.util
from pathlib import Path

import duckdb

from sealed_manifest import CHANGE_COLUMNS, COLUMNS, FILES, PREFIX, WAYS, answers_of, check_answers

connection = duckdb.connect()
# The extension as its package ships it: DuckDB itself would download it.
package = importlib.util.find_spec("duckdb_extension_httpfs")
(extension,) = Path(package.submodule_search_locations[0]).rglob("httpfs.duckdb_extension")
connection.execute(f"LOAD '{extension}'")


def quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


for way in WAYS:

    def ask(kind: str, query: str, way: str = way) -> list[tuple]:
        return connection.execute(query, [FILES[kind][way]] + ([PREFIX] if "starts_with" in query else [])).fetchall()

    (totals,) = ask("manifest", "SELECT count(*), sum(size)::BIGINT FROM read_parquet(?)")
    below = ask("manifest", "SELECT key FROM read_parquet(?) WHERE starts_with(key, ?) ORDER BY key")
    stages = ask("manifest", "SELECT stage, count(*), sum(size)::BIGINT FROM read_parquet(?) GROUP BY stage")
    rows = ask("manifest", f"SELECT {quoted(COLUMNS)} FROM read_parquet(?)")
    changes = ask("changes", f"SELECT {quoted(CHANGE_COLUMNS)} FROM read_parquet(?)")
    by_stage = {stage: (objects, size) for stage, objects, size in stages}
    check_answers(way, answers_of(totals, [key for (key,) in below], by_stage, rows, changes))
