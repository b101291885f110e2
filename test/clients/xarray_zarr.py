"""xarray on signed root URLs."""

import numpy as np
import xarray

from checks import check, check_values, given, raster

expected = raster()

for store, kind in (("precip-v3", "sharded v3"), ("precip-v2", "v2")):
    cube = xarray.open_zarr(given["roots"][store], chunks=None)
    check(f"opens the {kind} store, dimensions and all", dict(cube.sizes) == {"lat": 168, "lon": 360}, cube.sizes)
    check_values(f"reads the whole {kind} array", cube["precip"].to_numpy(), expected)
    check_values(f"reads the {kind} store's latitudes", cube["lat"].to_numpy(), 86.5 - np.arange(168))
    # By label: the row at 0.5 degrees north.
    check_values(f"selects a row of the {kind} array by label", cube["precip"].sel(lat=0.5).to_numpy(), expected[86])
