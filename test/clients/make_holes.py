"""Writes two arrays of four chunks each, one of which is never written, into the given folder."""

import numpy as np
import zarr

from checks import given

for name, zarr_format in (("holes-v3", 3), ("holes-v2", 2)):
    array = zarr.create_array(
        f"{given['folder']}/{name}",
        shape=(8, 8),
        chunks=(4, 4),
        dtype="<i2",
        fill_value=-1,
        zarr_format=zarr_format,
    )
    values = np.arange(64).reshape(8, 8)
    array[0:4, :] = values[0:4, :]
    array[4:8, 0:4] = values[4:8, 0:4]
