"""The units of Zarr arrays by zarr-python over obstore: every chunk once, every value the original's."""

import json
import sys
from pathlib import Path

import numpy as np

given = json.load(sys.stdin)
sys.path.insert(0, given["examples"])

from penstock_zarr import ZarrUnits  # noqa: E402

source = json.loads(Path(given["raster"]).read_text(encoding="utf-8"))
expected = np.array(source["values"]).reshape(source["height"], source["width"])
seen = np.zeros(expected.shape, dtype=int)
wrong, chunks = 0, 0
units = ZarrUnits("node-0")
for unit in units:
    for _path, selection, values in unit["chunks"]:
        chunks += 1
        seen[selection] += 1
        wrong += int((values != expected[selection]).sum())
    if not units.done(unit):
        sys.exit(f"unit {unit['unit']} was another node's")
print(json.dumps({"chunks": chunks, "wrong": wrong, "once": int((seen == 1).sum()), "more": int((seen > 1).sum())}))
