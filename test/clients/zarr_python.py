"""zarr-python 3 over fsspec's HTTP store, on signed root URLs."""

import numpy as np
import zarr
from aiohttp import ClientResponseError

from checks import check, check_values, given, raster

expected = raster()

for store, kind in (("precip-v3", "sharded v3"), ("precip-v2", "v2")):
    # The format is not given: zarr-python asks for zarr.json, .zgroup, .zattrs and .zmetadata, and needs a 404 for
    # each that is not there.
    group = zarr.open_group(given["roots"][store], mode="r")
    check(f"opens the {kind} store by its root URL", sorted(group) == ["lat", "lon", "precip"], sorted(group))
    check(f"finds the {kind} store's consolidated metadata", group.metadata.consolidated_metadata is not None)
    check_values(f"reads the whole {kind} array", group["precip"][...], expected)
    # Across a shard boundary: of each shard the index by a suffix range, then inner chunks by bounded ranges.
    part = np.s_[83:85, 100:260]
    check_values(f"reads a slice of the {kind} array", group["precip"][part], expected[part])

for store in ("holes-v3", "holes-v2"):
    array = zarr.open_array(given["roots"][store], mode="r")
    written = np.arange(64).reshape(8, 8)
    written[4:8, 4:8] = array.fill_value
    check(f"{store} has a fill value of its own", array.fill_value == -1, array.fill_value)
    check_values(f"{store}: a chunk that was never written reads as fill values", array[...], written)

# A refused chunk that were taken for a missing one would be wrong numbers.
array = zarr.open_array(given["roots"]["metadata-only"], mode="r")
sentence = "a chunk outside the capability is a 403 and an error, never fill values"
try:
    check(sentence, False, f"read {array[...]}")
except ClientResponseError as error:
    check(sentence, error.status == 403, error)
