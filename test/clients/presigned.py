"""requests on presigned R2 URLs: every chunk of the v2 array, and outputs that can be written once and as announced."""

import hashlib
from pathlib import Path

import requests

from checks import check, given

http = requests.Session()

same_bytes, same_size, same_etag = 0, 0, 0
for signed in given["gets"]:
    original = Path(given["originals"], signed["key"]).read_bytes()
    answer = http.get(signed["url"], headers=signed["headers"] | {"if-match": f'"{signed["etag"]}"'}, timeout=30)
    same_bytes += answer.status_code == 200 and answer.content == original
    same_size += signed["size"] == len(original) == int(answer.headers.get("content-length", -1))
    etag = hashlib.md5(original).hexdigest()
    same_etag += signed["etag"] == etag and answer.headers.get("etag") == f'"{etag}"'
chunks = len(given["gets"])
check("there is a URL for each of the 24 chunks", chunks == 24, chunks)
check(f"{chunks} chunks come back byte for byte, pinned by If-Match", same_bytes == chunks, same_bytes)
check(f"{chunks} sizes are the announced ones", same_size == chunks, same_size)
check(f"{chunks} ETags are the chunks' MD5s, announced and answered", same_etag == chunks, same_etag)

first = given["gets"][0]
ranged = http.get(first["url"], headers=first["headers"] | {"range": "bytes=2-9"}, timeout=30)
original = Path(given["originals"], first["key"]).read_bytes()
check("a presigned GET takes a Range", ranged.status_code == 206 and ranged.content == original[2:10], ranged.status_code)
other = http.get(first["url"].replace(first["key"], given["gets"][1]["key"]), timeout=30)
check("a presigned GET opens no other key", other.status_code == 403, other.status_code)
written = http.put(first["url"], data=b"x", timeout=30)
check("a presigned GET does not write", written.status_code == 403, written.status_code)


def put(name: str, body: bytes, **changed: str) -> int:
    signed = given["puts"][name]
    return http.put(signed["url"], data=body, headers=signed["headers"] | changed, timeout=30).status_code


def body_of(name: str) -> bytes:
    return given["outputs"][name].encode()


body = body_of("written.json")
longer = put("never.json", body_of("never.json") + b"!")
check("a presigned PUT of another length is refused", longer == 403, longer)
other_type = put("never.json", body_of("never.json"), **{"content-type": "text/html"})
check("a presigned PUT of another type is refused", other_type == 403, other_type)
first_put = put("written.json", body)
check("a presigned PUT with the announced headers is taken", first_put == 200, first_put)
second_put = put("written.json", body)
check("a second PUT by the same URL is a 412", second_put == 412, second_put)
other_bytes = put("written.json", body.swapcase())
check("so is one of other bytes: the URL writes once", other_bytes == 412, other_bytes)
