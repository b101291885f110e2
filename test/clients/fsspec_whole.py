"""fsspec's HTTP file system on whole files of every size, by each of its caches and calls."""

from pathlib import Path

import fsspec

from checks import check, given
from client_errors import error_of

FOLDER = Path(given["folder"])
FILES: str = given["roots"]["files"]["signed"]
BARE: str = given["roots"]["files"]["bare"]
CAPABILITY: str = given["roots"]["files"]["capability"]

CACHES = ("none", "readahead", "blockcache", "bytes", "background", "all")

http = fsspec.filesystem("http")
originals = {path.name: path.read_bytes() for path in sorted(FOLDER.glob("files/*.bin"))}
many = originals["many-mebibytes.bin"]

for name, original in originals.items():
    url, size = FILES + name, len(original)
    info = http.info(url)
    told = (info["size"], info["mimetype"])
    check(f"HEAD tells {size} bytes and their type", told == (size, "application/octet-stream"), info)
    found = http.cat_file(url)
    check(f"cat_file: {size} bytes", found == original, len(found))
    wrong = []
    for cache in CACHES:
        with http.open(url, block_size=2**18, cache_type=cache) as file:
            found = file.read()
        if found != original:
            wrong.append((cache, len(found)))
    check(f"open and read with the caches {', '.join(CACHES)}: {size} bytes", wrong == [], wrong)
    with http.open(url, block_size=0) as stream:
        found = b"".join(iter(lambda: stream.read(65_536), b""))
    check(f"as a stream, piece by piece: {size} bytes", found == original, len(found))

found = http.cat([FILES + name for name in originals])
check("cat of all files at once", {url.removeprefix(FILES): body for url, body in found.items()} == originals)

# Two bytes across every edge that a block might have, from the start or from the end, and ranges of many blocks.
MIB, EDGE = 2**20, 2**17
edges = [*range(EDGE, len(many), EDGE), *range(len(many) - EDGE, 0, -EDGE)]
spans = [(edge - 1, edge + 1) for edge in edges]
spans += [(0, 1), (MIB, 2 * MIB), (5, 5 * MIB + 7), (-4096, None), (9 * MIB, None), (9 * MIB, 99 * MIB)]
found = http.cat_ranges([FILES + "many-mebibytes.bin"] * len(spans), *zip(*spans))
expected = [many[start:end] for start, end in spans]
check(f"cat_ranges: {len(spans)} ranges at once", found == expected, [len(part) for part in found])
places = (8 * MIB, 0, MIB - 75_000, len(many) - 10)
expected = [many[at : at + 150_000] for at in places]
for cache in ("readahead", "blockcache", "bytes"):
    found = []
    with http.open(FILES + "many-mebibytes.bin", block_size=100_003, cache_type=cache) as file:
        for at in places:
            file.seek(at)
            found.append(file.read(150_000))
    check(f"there and back with the cache {cache}", found == expected, [len(part) for part in found])

# fsspec makes a 416 an error, and reads no bytes for it.
refusal = error_of(lambda: http.cat_file(FILES + "one.bin", start=5, end=10))
check("a range past the end is a 416", "416" in refusal, refusal)
refusal = error_of(lambda: http.cat_file(FILES + "none.bin", start=0, end=1))
check("any range of an empty file is a 416", "416" in refusal, refusal)

# Every object of a store as the migration left it, all asked for at once.
store = FOLDER / "matrix/v3-slash-plain"
paths = {str(path.relative_to(FOLDER / "matrix")): path.read_bytes() for path in store.rglob("*") if path.is_file()}
matrix: str = given["roots"]["matrix"]["signed"]
found = {url.removeprefix(matrix): body for url, body in http.cat([matrix + path for path in paths]).items()}
check(f"cat of a store's {len(paths)} objects, byte for byte", len(paths) > 100 and found == paths, len(found))

by_header = fsspec.filesystem("http", headers={"Authorization": f"Bearer {CAPABILITY}"})
check("the capability in a header", by_header.cat_file(BARE + "mebibyte.bin") == originals["mebibyte.bin"])
query = f"{BARE}many-mebibytes.bin?token={CAPABILITY}"
found = http.cat_file(query, start=MIB, end=2 * MIB)
check("the capability in the query, which a single file keeps", found == many[MIB : 2 * MIB], len(found))
refusal = error_of(lambda: http.cat_file(BARE + "mebibyte.bin"))
check("without a capability there is a 401", "401" in refusal, refusal)
refusal = error_of(lambda: http.cat_file(FILES + "nothing.bin"))
check("a missing file is not found", "FileNotFoundError" in refusal, refusal)
