"""zarr-python 3 over fsspec's HTTP file system on the whole matrix of stores."""

import zarr

from checks import check
from client_errors import error_of
from matrix import BARE, BEARER, CAPABILITY, ROOT, STORES, by_slices, check_arrays, whole
from matrix_arrays import GROUPS, arrays, large_arrays

for store in STORES:
    name = store["name"]
    group = zarr.open_group(ROOT + name, mode="r")
    check_arrays(f"every array of {name}", arrays(), whole(group))
    is_consolidated = group.metadata.consolidated_metadata is not None
    check(f"{name} has consolidated metadata: {store['consolidated']}", is_consolidated == store["consolidated"])
    attributes = {path: dict(group[path].attrs) if path else dict(group.attrs) for path in GROUPS}
    check(f"the attributes of the nested groups of {name}", attributes == GROUPS, attributes)
    if store["consolidated"]:
        found = sorted(path for path, _ in group.members(max_depth=None))
        expected = sorted([path for path in GROUPS if path != ""] + [array.path for array in arrays()])
        check(f"the members of {name}, from its consolidated metadata", found == expected, found)
check_arrays("chunks and shards of 11 MB", large_arrays(), whole(zarr.open_group(ROOT + "large", mode="r")))

for name in ("v3-sharded-slash", "v2-dot"):
    check_arrays(f"every array of {name}, slice by slice", arrays(), by_slices(zarr.open_group(ROOT + name, mode="r")))
    group = zarr.open_group(BARE + name, mode="r", storage_options={"headers": BEARER})
    check_arrays(f"the capability in a header (storage_options): every array of {name}", arrays(), whole(group))

# It appends the keys to the query. A 404 to that would be fill values.
query = f"{BARE}v3-slash/weather/counts?token={CAPABILITY}"
refusal = error_of(lambda: zarr.open_array(query, mode="r")[...])
check("a capability in the query it cannot keep: it is refused, and nothing is read", "401" in refusal, refusal)
refusal = error_of(lambda: zarr.open_group(BARE + "v3-slash", mode="r"))
check("without a capability nothing opens: a 401", "401" in refusal, refusal)
