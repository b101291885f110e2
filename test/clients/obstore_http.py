"""obstore's HTTP store, which is Rust's object_store: whole files, ranges, HEAD and conditions."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import obstore
from obstore.store import HTTPStore

from checks import check, given
from client_errors import error_of

FOLDER = Path(given["folder"], "files")
FILES: str = given["roots"]["files"]["signed"]
BARE: str = given["roots"]["files"]["bare"]
CAPABILITY: str = given["roots"]["files"]["capability"]
MIB = 2**20


def opened(url: str, **options: object) -> HTTPStore:
    return HTTPStore.from_url(url, client_options={"allow_http": True, **options})


def ranged(name: str, wanted: object) -> tuple[tuple[int, int], bytes]:
    """The range that the answer tells, and its bytes."""
    answer = obstore.get(files, name, options={"range": wanted})
    return answer.range, bytes(answer.bytes())


# A root URL as it is handed out ends in a slash, and object_store puts another behind it.
files = opened(FILES.removesuffix("/"))
refusal = error_of(lambda: obstore.get(opened(FILES), "one.bin"))
check("under a root URL that ends in a slash it asks for //: a 400, never a 404", "400 Bad" in refusal, refusal)

originals = {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*.bin"))}
for name, original in originals.items():
    size = len(original)
    head = obstore.head(files, name)
    check(f"HEAD tells {size} bytes and a strong ETag", head["size"] == size and head["e_tag"].startswith('"'), head)
    answer = obstore.get(files, name)
    whole = bytes(answer.bytes())
    same = answer.meta["e_tag"] == head["e_tag"] and answer.range == (0, size)
    check(f"get: {size} bytes", whole == original and same, (len(whole), answer.meta))
    pieces = b"".join(bytes(piece) for piece in obstore.get(files, name).stream(min_chunk_size=1))
    check(f"get as a stream: {size} bytes", pieces == original, len(pieces))
    if size == 0:
        continue
    wanted = {
        "the first byte": ((0, 1), (0, 1)),
        "all of it": ((0, size), (0, size)),
        "an end past it": ((size // 2, size + 100), (size // 2, size)),
        "its last byte, as an offset": ({"offset": size - 1}, (size - 1, size)),
        "its last byte, as a suffix": ({"suffix": 1}, (size - 1, size)),
        "a suffix of 4,096 bytes": ({"suffix": 4096}, (max(0, size - 4096), size)),
    }
    for what, (asked, span) in wanted.items():
        found = ranged(name, asked)
        check(f"{size} bytes: {what}", found == (span, original[slice(*span)]), (found[0], len(found[1])))

for asked in ({"offset": 1}, (1, 2)):
    refusal = error_of(lambda: ranged("one.bin", asked))
    check(f"one byte, asked for {asked}: a 416", "416" in refusal, refusal)
refusal = error_of(lambda: ranged("none.bin", {"suffix": 10}))
check("an empty file, asked for its end: a 416", "416" in refusal, refusal)

many = originals["many-mebibytes.bin"]
spans = [(0, 10), (MIB - 1, MIB + 1), (MIB, 2 * MIB), (5, 5 * MIB), (9 * MIB, len(many)), (3, 4)]
for coalesce in (0, MIB):
    starts, ends = zip(*spans)
    found = obstore.get_ranges(files, "many-mebibytes.bin", starts=starts, ends=ends, coalesce=coalesce)
    expected = [many[start:end] for start, end in spans]
    check(f"get_ranges, coalesced at {coalesce} bytes", [bytes(part) for part in found] == expected)
chance = np.random.default_rng(3)
starts = [int(start) for start in chance.integers(0, len(many) - 1, 200)]
ends = [min(len(many), start + int(2 ** chance.uniform(0, 21))) for start in starts]
for turn in ("", ", again"):
    found = obstore.get_ranges(files, "many-mebibytes.bin", starts=starts, ends=ends, coalesce=0)
    wrong = [
        (start, end)
        for start, end, part in zip(starts, ends, found, strict=True)
        if bytes(part) != many[start:end]
    ]
    check(f"200 ranges at random, of 1 byte to 2 MiB{turn}", wrong == [], wrong[:5])
reader = obstore.open_reader(files, "many-mebibytes.bin", buffer_size=100_003)
reader.seek(5 * MIB)
found = bytes(reader.read(2 * MIB))
check("a buffered reader seeks and reads", found == many[5 * MIB : 7 * MIB], len(found))

meta = obstore.head(files, "mebibyte.bin")
before, at = meta["last_modified"] - timedelta(hours=1), meta["last_modified"]
conditions = {
    "If-Match with the ETag": ({"if_match": meta["e_tag"]}, ""),
    "If-Match with another": ({"if_match": '"another"'}, "PreconditionError"),
    "If-None-Match with the ETag": ({"if_none_match": meta["e_tag"]}, "NotModifiedError"),
    "If-None-Match with another": ({"if_none_match": '"another"'}, ""),
    "If-Modified-Since the time that it tells": ({"if_modified_since": at}, "NotModifiedError"),
    "If-Modified-Since an hour before": ({"if_modified_since": before}, ""),
    "If-Unmodified-Since the time that it tells": ({"if_unmodified_since": at}, ""),
    "If-Unmodified-Since an hour before": ({"if_unmodified_since": before}, "PreconditionError"),
}
for condition, (options, expected) in conditions.items():
    read: list[bytes] = []
    error = error_of(lambda: read.append(bytes(obstore.get(files, "mebibyte.bin", options=options).bytes())))
    holds = expected in error and (read == [originals["mebibyte.bin"]]) == (expected == "")
    check(f"{condition}: {expected or 'every byte'}", holds, error)

refusal = error_of(lambda: obstore.get(files, "nothing.bin"))
check("a missing file is not found", "FileNotFoundError" in refusal, refusal)
refusal = error_of(lambda: obstore.get(opened(BARE.removesuffix("/")), "one.bin"))
check("without a capability it is unauthenticated, and not missing", "UnauthenticatedError" in refusal, refusal)
by_header = opened(BARE.removesuffix("/"), default_headers={"Authorization": f"Bearer {CAPABILITY}"})
by_query = opened(f"{BARE.removesuffix('/')}?token={CAPABILITY}")
for how, store in (("a header", by_header), ("the query, which it keeps", by_query)):
    found = bytes(obstore.get(store, "many-mebibytes.bin").bytes())
    check(f"the capability in {how}", found == many, len(found))
