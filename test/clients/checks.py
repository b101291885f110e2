"""What the clients' scripts share: their input, and one line per check, which run.ts counts."""

import json
import sys
from pathlib import Path

import numpy as np

# What run.ts hands over: URLs, and where the originals are. By stdin, since a command line is anybody's to see.
given = json.load(sys.stdin)


def check(sentence: str, holds: bool, found: object = "") -> None:
    detail = "" if holds else f"\t{str(found)[:1000]!r}"
    print(f"{'ok' if holds else 'FAIL'}\t{sentence}{detail}", flush=True)


def raster() -> np.ndarray:
    """The values that the Zarr stores were made of."""
    source = json.loads(Path(given["raster"]).read_text(encoding="utf-8"))
    return np.array(source["values"]).reshape(source["height"], source["width"])


def check_values(sentence: str, read: np.ndarray, expected: np.ndarray) -> None:
    """Every value, and the shape."""
    if read.shape != expected.shape:
        check(sentence, False, f"shape {read.shape}, expected {expected.shape}")
        return
    other = np.argwhere(read != expected)
    check(f"{sentence} ({expected.size} values)", len(other) == 0, f"{len(other)} differ, the first at {other[:1]}")
