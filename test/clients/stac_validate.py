"""pystac on the STAC Item of a sealed version: by the schemas it brings, and every checksum by a decoder of its own."""

import json
from pathlib import Path, PurePosixPath

import pystac
from pystac.extensions.file import FileExtension
from pystac.validation.local_validator import get_local_schema_cache
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from checks import check, given

# The document; of each object its size and, where known, its digests: {"key": {"size": 1, "md5": "...", "sha256": "..."}}.
DOCUMENT = json.loads(Path(given["document"]).read_text(encoding="utf-8"))
OBJECTS: dict[str, dict] = given["objects"]

# https://github.com/multiformats/multicodec/blob/master/table.csv
DIGESTS = {0x12: "sha256", 0xD5: "md5"}


def multihash(text: str) -> tuple[str, str]:
    """Its algorithm and digest. https://github.com/multiformats/multihash"""
    data = bytes.fromhex(text)
    numbers = []
    at = 0
    for _ in range(2):
        number = shift = 0
        while True:
            byte = data[at]
            number, shift, at = number | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                break
        numbers.append(number)
    code, length = numbers
    digest = data[at:]
    if len(digest) != length:
        raise ValueError(f"{length} bytes announced, {len(digest)} there")
    return DIGESTS[code], digest.hex()


# By the schemas that pystac brings: those of extensions it would download.
schemas = get_local_schema_cache()
registry = Registry().with_resources((uri, Resource.from_contents(schema)) for uri, schema in schemas.items())
core = schemas["https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"]
problems = [error.message for error in Draft7Validator(core, **{"registry": registry}).iter_errors(DOCUMENT)]
check("is an Item of STAC 1.1 by its schema", problems == [], problems)

item = pystac.Item.from_dict(DOCUMENT)
check("has a time, and no geometry", item.datetime is not None and item.geometry is None and item.bbox is None)
check("says that it uses the file extension", FileExtension.has_extension(item), item.stac_extensions)

assets = {key: asset for key, asset in item.assets.items() if key != ""}
check(f"has {len(OBJECTS)} assets", set(assets) == set(OBJECTS), set(assets) ^ set(OBJECTS))
wrong = []
for key, expected in OBJECTS.items():
    file = FileExtension.ext(assets[key])
    if file.size != expected["size"]:
        wrong.append((key, file.size))
    strongest = next((name for name in ("sha256", "md5") if expected.get(name)), None)
    told = None if file.checksum is None else multihash(file.checksum)
    if told != (None if strongest is None else (strongest, expected[strongest])):
        wrong.append((key, file.checksum))
check("has their sizes, and their strongest checksums as multihashes", wrong == [], wrong[:5])

paths = [asset.extra_fields["file:local_path"] for asset in assets.values() if "file:local_path" in asset.extra_fields]
astray = [path for path in paths if PurePosixPath(path).is_absolute() or {"..", "."} & set(path.split("/"))]
check("has local paths that stay within a folder", astray == [], astray)
hrefs = [asset.get_absolute_href() or "" for asset in item.assets.values()]
check("has URLs", all(href.startswith(("http://", "https://")) for href in hrefs), hrefs[:5])
