"""xarray on nested groups: each by itself, and all of them as a tree."""

import numpy as np
import xarray

from checks import check
from matrix import BARE, BEARER, ROOT, STORES, check_arrays
from matrix_arrays import GROUPS, Array, arrays

# Values as they are stored: xarray takes fill values for missing data, and would make them NaN.
AS_STORED = {"chunks": None, "mask_and_scale": False}


def variables(group: str) -> list[Array]:
    return [array for array in arrays() if array.path.rpartition("/")[0] == group]


def from_dataset(dataset: xarray.Dataset):
    return lambda array: dataset[array.path.rpartition("/")[2]].to_numpy()


consolidated = [store["name"] for store in STORES if store["consolidated"]]
for name in consolidated:
    for group, attributes in GROUPS.items():
        dataset = xarray.open_zarr(ROOT + name, group=group or None, **AS_STORED)
        check_arrays(f"open_zarr: {name}, group '/{group}'", variables(group), from_dataset(dataset))
        expected = {array.path.rpartition("/")[2] for array in variables(group)}
        same = set(dataset.variables) == expected and dataset.attrs == attributes
        check(f"open_zarr: the variables and attributes of {name}, group '/{group}'", same, dataset)

    tree = xarray.open_datatree(ROOT + name, engine="zarr", **AS_STORED)
    found = sorted(node.path.strip("/") for node in tree.subtree)
    check(f"open_datatree: the groups of {name}", found == sorted(GROUPS), found)
    check_arrays(f"open_datatree: every array of {name}", arrays(), lambda array: tree[array.path].to_numpy())

weather = {array.path: array.values for array in arrays()}
dataset = xarray.open_zarr(BARE + "v3-sharded-slash", group="weather", storage_options={"headers": BEARER}, **AS_STORED)
check_arrays("the capability in a header (storage_options)", variables("weather"), from_dataset(dataset))
row = dataset["counts"].sel(lat=weather["weather/lat"][33]).to_numpy()
check("selects a row by label", np.array_equal(row, weather["weather/counts"][33]), row)
# As a v2 store of xarray's own would be read: what was not written is NaN.
dataset = xarray.open_zarr(ROOT + "v2-slash", group="weather", chunks=None)
missing = int(np.isnan(dataset["counts"].to_numpy()).sum())
expected = int((weather["weather/counts"] == -7).sum())
check(f"{expected} fill values of a v2 array are masked as missing", missing == expected > 0, missing)
