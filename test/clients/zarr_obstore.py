"""zarr-python 3 over obstore on the whole matrix of stores: the capability in the path, in a header, in the query."""

import zarr
from obstore.store import HTTPStore
from zarr.storage import ObjectStore

from matrix import BARE, BEARER, CAPABILITY, ROOT, STORES, by_slices, check_arrays, whole
from matrix_arrays import arrays, large_arrays


def opened(url: str, **options: object) -> zarr.Group:
    store = HTTPStore.from_url(url, client_options={"allow_http": True, **options})
    return zarr.open_group(ObjectStore(store, read_only=True), mode="r")


for store in STORES:
    check_arrays(f"every array of {store['name']}", arrays(), whole(opened(ROOT + store["name"])))
check_arrays("chunks and shards of 11 MB", large_arrays(), whole(opened(ROOT + "large")))

for name in ("v3-sharded-slash", "v2-dot"):
    check_arrays(f"every array of {name}, slice by slice", arrays(), by_slices(opened(ROOT + name)))
    group = opened(BARE + name, default_headers=BEARER)
    check_arrays(f"the capability in a header: every array of {name}", arrays(), whole(group))
    group = opened(f"{BARE}{name}?token={CAPABILITY}")
    check_arrays(f"the capability in the query, which it keeps: every array of {name}", arrays(), whole(group))
