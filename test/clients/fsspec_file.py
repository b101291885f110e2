"""fsspec's HTTP file system on the signed URL of one large file."""

import hashlib
import json

import fsspec

from checks import check, given

file = given["file"]

with fsspec.open(file["url"], "rb") as stream:
    whole = stream.read()
check(f"reads the whole file ({file['size']} bytes)", hashlib.md5(whole).hexdigest() == file["md5"], len(whole))
records = [json.loads(line) for line in whole.splitlines()]
check(f"it holds {file['records']} records, a line each", len(records) == file["records"], len(records))

http = fsspec.filesystem("http")
info = http.info(file["url"])
check("HEAD tells the size, and that ranges are served", info["size"] == file["size"] and not info.get("partial"), info)
# fsspec reads no ranges of a file whose size HEAD did not tell.
check("the file can be seeked", http.open(file["url"]).seekable())
with http.open(file["url"], block_size=2**16) as stream:
    stream.seek(-1000, 2)
    end = stream.read()
    stream.seek(5_000_000)
    middle = stream.read(1000)
check("seeks to its end and back", end == whole[-1000:] and middle == whole[5_000_000:5_001_000], (len(end), len(middle)))
check("exists() is true of it, and false of a key beside it", http.exists(file["url"]) and not http.exists(file["url"] + "x"))

# Text that differs by one record would be found here, whatever the transport.
with fsspec.open(file["url"], "rt", encoding="utf-8") as lines:
    read = sum(1 for _ in lines)
check("reads line by line", read == file["records"], read)
