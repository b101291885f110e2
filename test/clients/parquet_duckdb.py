"""DuckDB on a Parquet file: by its own httpfs extension, and by the file system of fsspec."""

import importlib.util
from email.utils import parsedate_to_datetime
from pathlib import Path

import duckdb
from fsspec.implementations.http import HTTPFileSystem

from checks import check, given
from client_errors import error_of

LOCAL = Path(given["folder"], "files/table.parquet")
SIGNED: str = given["roots"]["files"]["signed"] + "table.parquet"
BARE: str = given["roots"]["files"]["bare"] + "table.parquet"
CAPABILITY: str = given["roots"]["files"]["capability"]

# What they need of the file: all, some columns, one row group of eight, nothing but the footer, columns of all groups.
QUERIES = {
    "every row and column": "SELECT * FROM read_parquet('{}')",
    "a nested column and a list": "SELECT place.lat, tags FROM read_parquet('{}')",
    "the rows of one row group": "SELECT * FROM read_parquet('{}') WHERE id BETWEEN 110000 AND 110099",
    "the number of rows": "SELECT count(*) FROM read_parquet('{}')",
    "the rows with large values": "SELECT id, name FROM read_parquet('{}') WHERE value > 3 ORDER BY id",
}


def check_queries(way: str, connection: duckdb.DuckDBPyConnection, url: str) -> None:
    for what, query in QUERIES.items():
        local = duckdb.connect().sql(query.format(LOCAL)).to_arrow_table()
        found = connection.sql(query.format(url)).to_arrow_table()
        check(f"{way}: {what} ({local.num_rows} rows)", local.num_rows > 0 and found.equals(local), found.num_rows)


def with_httpfs() -> duckdb.DuckDBPyConnection:
    """The extension as its package ships it: DuckDB itself would download it."""
    package = importlib.util.find_spec("duckdb_extension_httpfs")
    (extension,) = Path(package.submodule_search_locations[0]).rglob("httpfs.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    return connection


httpfs = with_httpfs()
check_queries("httpfs", httpfs, SIGNED)
check_queries("httpfs, the capability in the query", httpfs, f"{BARE}?token={CAPABILITY}")

with_secret = with_httpfs()
with_secret.execute(f"CREATE SECRET (TYPE http, BEARER_TOKEN '{CAPABILITY}', SCOPE '{BARE}')")
check_queries("httpfs, the capability in a secret's header", with_secret, BARE)

refusal = error_of(lambda: with_httpfs().sql(QUERIES["the number of rows"].format(BARE)).fetchall())
check("httpfs: without a capability there is an error, and no rows", "HTTP" in refusal, refusal)
refusal = error_of(lambda: httpfs.sql(QUERIES["the number of rows"].format(SIGNED + ".nothing")).fetchall())
check("httpfs: a missing file is a 404", "404" in refusal, refusal)

# `read_blob` reads whole files, by HEAD for the size and one GET or many.
for path in sorted(Path(given["folder"], "files").glob("*.bin")):
    url = given["roots"]["files"]["signed"] + path.name
    ((content,),) = httpfs.sql(f"SELECT content FROM read_blob('{url}')").fetchall()
    check(f"httpfs: the {path.stat().st_size} bytes of {path.name}", content == path.read_bytes(), len(content))


class DatedHttpFileSystem(HTTPFileSystem):
    """DuckDB asks when a file changed, to know what it may keep of it; fsspec's HTTP file system leaves that out."""

    def modified(self, path: str):
        return parsedate_to_datetime(self.info(path)["Last-Modified"])


by_fsspec = duckdb.connect()
by_fsspec.register_filesystem(DatedHttpFileSystem())
check_queries("fsspec", by_fsspec, SIGNED)
