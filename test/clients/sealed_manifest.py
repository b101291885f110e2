"""
What the readers of a sealed version's Parquet files are asked, and what the answers are. `given`: the rows that version 2
must have and its changes since version 1, both by the bytes themselves; the files, by URL and on disk; the prefix to filter
by.
"""

from collections import Counter, defaultdict
from pathlib import Path

from checks import check, given

ROWS: list[dict] = given["rows"]
CHANGES: list[dict] = given["changes"]
PREFIX: str = given["prefix"]

# Of each kind of file: where it is on disk, and its signed URLs.
FILES: dict[str, dict[str, list[str]]] = {
    kind: {
        "from disk": sorted(str(path) for path in Path(given["folder"]).glob(f"{kind}-*.parquet")),
        "over signed URLs": [file["url"] for file in given["files"] if file["name"].startswith(f"{kind}-")],
    }
    for kind in ("manifest", "changes")
}
WAYS = ("from disk", "over signed URLs")

COLUMNS = ("key", "size", "etag", "md5", "sha256", "stage", "category")
CHANGE_COLUMNS = ("key", "change", "beforeSize", "beforeEtag", "afterSize", "afterEtag", "afterStage")


def by_stage() -> dict[str | None, tuple[int, int]]:
    objects, sizes = Counter(row["stage"] for row in ROWS), defaultdict(int)
    for row in ROWS:
        sizes[row["stage"]] += row["size"]
    return {stage: (count, sizes[stage]) for stage, count in objects.items()}


def change_row(change: dict) -> tuple:
    before, after = change["before"] or {}, change["after"] or {}
    sides = (before.get("size"), before.get("etag"), after.get("size"), after.get("etag"), after.get("stage"))
    return (change["key"], change["change"], *sides)


EXPECTED = {
    "the number of rows and the sum of sizes": (len(ROWS), sum(row["size"] for row in ROWS)),
    f"the keys below {PREFIX}": sorted(row["key"] for row in ROWS if row["key"].startswith(PREFIX)),
    "objects and bytes by stage": by_stage(),
    "every row": [tuple(row[name] for name in COLUMNS) for row in ROWS],
    "what was added, changed and removed": [change_row(change) for change in CHANGES],
}


def check_answers(way: str, answers: dict[str, object]) -> None:
    """An answer to each question, in the order of EXPECTED."""
    if list(answers) != list(EXPECTED):
        raise SystemExit(f"Other questions were answered: {list(answers)}")
    for question, expected in EXPECTED.items():
        check(f"{way}: {question}", answers[question] == expected and bool(expected), (answers[question], expected))


def answers_of(totals: tuple, below: list, stages: dict, rows: list, changes: list) -> dict[str, object]:
    return dict(zip(EXPECTED, (totals, below, stages, rows, changes), strict=True))
