"""
zarr-python 3 and xarray on sealed versions of Zarr stores that have no consolidated metadata of their own: how many metadata
documents they ask for, and that every value is the one that `live` has.
"""

import numpy as np
import xarray
import zarr

from checks import check, given
from counted_requests import CountedRequests
from matrix_arrays import arrays

# Format 3 is one document. For format 2 zarr-python asks for the root's own two at the same time, whatever is there.
ASKED = {3: ["zarr.json"], 2: [".zattrs", ".zgroup", ".zmetadata"]}
MATRIX = sorted(array.path for array in arrays())


def equals(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit by bit: a NaN equals itself."""
    return (a.dtype, a.shape) == (b.dtype, b.shape) and np.asarray(a).tobytes() == np.asarray(b).tobytes()


def sentence_of(asked: list[str]) -> str:
    how_many = "one metadata request" if len(asked) == 1 else f"{len(asked)} metadata requests at once, all the root's"
    return f"{how_many}, to open it and read it all"


def check_zarr(name: str, root: str, zarr_format: int, live: zarr.Group, values: dict[str, np.ndarray]) -> None:
    requests = CountedRequests(root)
    group = zarr.open_consolidated(root, zarr_format=zarr_format, storage_options=requests.storage_options)
    found = {path: node for path, node in group.members(max_depth=None) if isinstance(node, zarr.Array)}
    check(f"zarr: {name}: finds the {len(values)} arrays", sorted(found) == sorted(values), sorted(found))
    wrong = [path for path, node in found.items() if not equals(node[...], values[path])]
    check(f"zarr: {name}: every value is that of live", wrong == [], wrong)
    asked = requests.metadata()
    check(f"zarr: {name}: {sentence_of(ASKED[zarr_format])}", asked == ASKED[zarr_format], asked)
    check(f"zarr: {name}: the other requests are for chunks", len(requests.paths) > len(asked), requests.paths)
    other = [path for path, node in found.items() if dict(node.attrs) != dict(live[path].attrs)]
    same = other == [] and dict(group.attrs) == dict(live.attrs)
    check(f"zarr: {name}: the attributes are those of live", same, other)


def check_xarray(name: str, root: str, zarr_format: int, group: str | None, values: dict[str, np.ndarray]) -> None:
    """The variables of one group; `values` are by their names in it."""
    requests = CountedRequests(root)
    options = {"zarr_format": zarr_format, "chunks": None, "mask_and_scale": False, "group": group}
    dataset = xarray.open_zarr(root, consolidated=True, storage_options=requests.storage_options, **options)
    found = sorted(dataset.variables)
    check(f"xarray: {name}: finds the {len(values)} variables", found == sorted(values), found)
    wrong = [variable for variable in found if not equals(dataset[variable].to_numpy(), values[variable])]
    check(f"xarray: {name}: every value is that of live", wrong == [], wrong)
    asked = requests.metadata()
    check(f"xarray: {name}: {sentence_of(ASKED[zarr_format])}", asked == ASKED[zarr_format], asked)


for store in given["stores"]:
    name, root, zarr_format = store["name"], store["sealed"], store["format"]
    paths = MATRIX if store["nested"] else ["lat", "lon", "precip"]
    live = zarr.open_group(store["live"], mode="r", zarr_format=zarr_format, use_consolidated=False)
    values = {path: live[path][...] for path in paths}
    check_zarr(name, root, zarr_format, live, values)
    group = "weather" if store["nested"] else None
    below = "weather/" if store["nested"] else ""
    members = [path for path in paths if path.startswith(below) and "/" not in path.removeprefix(below)]
    check_xarray(name, root, zarr_format, group, {path.removeprefix(below): values[path] for path in members})
