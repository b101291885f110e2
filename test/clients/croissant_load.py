"""mlcroissant on the Croissant document of a sealed version: it is valid, and every record set is read to its end."""

import json
import logging
import os
import tempfile
from pathlib import Path

# Where it keeps what it downloads, by URL; read when it is imported.
os.environ["CROISSANT_CACHE"] = tempfile.mkdtemp(prefix="penstock-croissant-")
os.environ["TQDM_DISABLE"] = "1"

import mlcroissant as mlc  # noqa: E402

from checks import check, given  # noqa: E402
from client_errors import error_of  # noqa: E402

# The document, of signed URLs; how many files it lists; of record sets (null: of all) how many records they have.
DOCUMENT = json.loads(Path(given["document"]).read_text(encoding="utf-8"))
FILES: int = given["files"]
RECORDS: dict[str, int] = given["records"]

logging.getLogger("absl").setLevel(logging.ERROR)


def plain(value: object) -> object:
    """A value as JSON has it: mlcroissant makes bytes of texts, and prefixes members with their ids."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, dict):
        return {name.rsplit("/", 1)[-1]: plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return value


dataset = mlc.Dataset(jsonld=DOCUMENT)
issues = dataset.metadata.ctx.issues
check("the document is valid", not issues.errors, issues.errors)
check("it conforms to 1.1", dataset.metadata.ctx.is_v1_1(), DOCUMENT["conformsTo"])
check(f"it lists {FILES} files", len(dataset.metadata.file_objects) == FILES, len(dataset.metadata.file_objects))

found = {record_set.uuid for record_set in dataset.metadata.record_sets}
check(f"it has {len(RECORDS)} record sets", found == set(RECORDS), found)

for name, expected in RECORDS.items():
    records = list(dataset.records(name))
    check(f"{name}: {expected} records, of checked bytes", len(records) == expected, len(records))
    first = given.get("first", {}).get(name)
    if first is not None:
        told = plain(dict(records[0]))
        same = {member: told.get(member) for member in first}
        check(f"{name}: the values of the first", same == first, told)

# mlcroissant checks each file that it downloads.
broken = json.loads(json.dumps(DOCUMENT))
for file in broken["distribution"]:
    file["sha256" if "sha256" in file else "md5"] = "0" * (64 if "sha256" in file else 32)
refusal = error_of(lambda: list(mlc.Dataset(jsonld=broken).records(next(iter(RECORDS)))))
check("with other checksums no record is read", refusal != "", refusal)
