"""TensorStore's drivers zarr and zarr3 over its HTTP key-value store, on the whole matrix of stores."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorstore

from checks import check, given
from client_errors import error_of
from matrix import BARE, BEARER, CAPABILITY, ROOT, STORES, check_arrays
from matrix_arrays import Array, arrays, large_arrays

HEADERS = [f"{name}: {value}" for name, value in BEARER.items()]


def opened(driver: str, path: str, base_url: str = ROOT, headers: list[str] | None = None) -> tensorstore.TensorStore:
    kvstore = {"driver": "http", "base_url": base_url, "headers": headers or [], "path": path}
    # In a context of its own nothing is remembered of the array before.
    context = tensorstore.Context()
    return tensorstore.open({"driver": driver, "kvstore": kvstore}, open=True, read=True, context=context).result()


def reader(driver: str, store: str, **how: object) -> Callable[[Array], np.ndarray]:
    return lambda array: opened(driver, f"{store}/{array.path}/", **how).read().result()


for store in STORES:
    name, driver = store["name"], "zarr" if store["version"] == 2 else "zarr3"
    check_arrays(f"{driver}: every array of {name}", arrays(), reader(driver, name))
check_arrays("zarr3: chunks and shards of 11 MB", large_arrays(), reader("zarr3", "large"))

sharded = "v3-sharded-slash"
by_header = reader("zarr3", sharded, base_url=BARE, headers=HEADERS)
check_arrays(f"the capability in a header: every array of {sharded}", arrays(), by_header)
by_query = reader("zarr3", sharded, base_url=f"{BARE}?token={CAPABILITY}")
check_arrays(f"the capability in the query, which it keeps: every array of {sharded}", arrays(), by_query)
refusal = error_of(lambda: opened("zarr3", "v3-slash/weather/counts/", base_url=BARE))
check("without a capability nothing opens: a 401", "401" in refusal, refusal)

# A window of each shard needs its index and the inner chunks that the window touches, 32 ranges at once.
for array in large_arrays():
    window = np.s_[700:1100, 333:1500]
    found = opened("zarr3", f"large/{array.path}/")[window].read().result()
    check(f"a window of large/{array.path}", np.array_equal(found, array.values[window]), found.shape)

shard = Path(given["folder"], "matrix/large/shard/c/0/0").read_bytes()
keys = tensorstore.KvStore.open({"driver": "http", "base_url": ROOT}).result()
whole = keys.read("large/shard/c/0/0").result()
check("the bytes of a shard", whole.value == shard, len(whole.value))
etag = hashlib.md5(shard).hexdigest()
generation = whole.stamp.generation
check("the ETag is strong: it is the generation", generation == b"\0" + etag.encode(), generation)
again = keys.read("large/shard/c/0/0", if_not_equal=generation).result()
check("what it has already it does not get again: a 304", again.state == "unspecified", again.state)
ends = [(0, 1), (1_048_575, 1_048_578), (-4096, None), (5_000_000, None), (10, 9_000_000)]
for part in (slice(*pair) for pair in ends):
    found = keys.read("large/shard/c/0/0", byte_range=part).result().value
    check(f"the bytes {part.start} to {part.stop} of a shard", found == shard[part], len(found))
missing = keys.read("large/shard/c/0/1").result()
check("a chunk that is not there is missing, and no error", missing.state == "missing", missing.state)

# With a cache that is checked at each read: If-None-Match on metadata and chunks, and the array is the same.
context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 50_000_000}})
kvstore = {"driver": "http", "base_url": ROOT, "path": f"{sharded}/weather/temperature/"}
spec = {"driver": "zarr3", "kvstore": kvstore, "recheck_cached_data": True, "recheck_cached_metadata": True}
temperature = next(array.values for array in arrays() if array.path == "weather/temperature")
cached = tensorstore.open(spec, open=True, read=True, context=context).result()
for turn in ("first", "second"):
    found = cached.read().result()
    check(f"through a cache that is rechecked, the {turn} time", found.tobytes() == temperature.tobytes(), found.shape)
