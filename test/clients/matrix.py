"""The matrix of stores as its readers see it: which there are, how they are reached, and one check a store."""

import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import zarr

from checks import check, given
from matrix_arrays import Array

STORES = json.loads(Path(given["truth"], "matrix.json").read_text(encoding="utf-8"))["stores"]
ROOT: str = given["roots"]["matrix"]["signed"]
"""`/t/<capability>/matrix/`: the capability in the path, where no client loses it."""
BARE: str = given["roots"]["matrix"]["bare"]
"""`/d/matrix/`: for a capability in the header or in the query."""
CAPABILITY: str = given["roots"]["matrix"]["capability"]
BEARER = {"Authorization": f"Bearer {CAPABILITY}"}


def check_arrays(sentence: str, arrays: Iterable[Array], read: Callable[[Array], np.ndarray]) -> None:
    """Type, shape and every value, bit by bit, so that a NaN equals itself and 0.0 does not equal -0.0."""
    wrong, values = [], 0
    for array in arrays:
        expected = array.values
        values += expected.size
        try:
            found = np.asarray(read(array))
        except Exception as error:  # a client's own, of any kind
            wrong.append(f"{array.path}: {error!r}")
            continue
        # The byte order is the store's affair, and the client's.
        kind = found.dtype.newbyteorder("=")
        if (kind, found.shape) != (expected.dtype, expected.shape):
            wrong.append(f"{array.path}: {found.dtype} {found.shape}, expected {expected.dtype} {expected.shape}")
        elif found.astype(kind).tobytes() != expected.tobytes():
            wrong.append(f"{array.path}: {np.count_nonzero(found != expected)} of {expected.size} differ, or NaN")
    check(f"{sentence} ({values} values)", values > 0 and not wrong, f"{len(wrong)} arrays: {wrong[:5]}")


def whole(group: zarr.Group) -> Callable[[Array], np.ndarray]:
    return lambda array: group[array.path][...]


def by_slices(group: zarr.Group) -> Callable[[Array], np.ndarray]:
    """An array put together from slices that cross the borders of chunks and shards."""

    def read(array: Array) -> np.ndarray:
        node, shape = group[array.path], array.values.shape
        if 0 in shape or shape == ():
            return node[...]
        cuts = [0, *range(3, shape[0], 7), shape[0]]
        return np.concatenate([node[start:stop] for start, stop in itertools.pairwise(cuts)])

    return read
