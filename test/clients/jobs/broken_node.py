"""The examples' client where answers break off in the middle, and where what it says is no number, or is refused."""

import json
import os
import sys
import time

given = json.load(sys.stdin)
sys.path.insert(0, given["examples"])
os.environ["PENSTOCK_URL"] = given["url"]

from penstock_job import Job, fetch  # noqa: E402

_, body = fetch(f"{given['url']}/object", {})
job = Job("node-0")
job.said = {"step": 1, "loss": float("nan"), "metrics": {"rate": 0.5, "norm": float("nan"), "ratio": float("-inf")}}
with job.beating(0.05):
    time.sleep(1.5)
    job.said = {"step": "none"}
    time.sleep(0.5)
print(json.dumps({"body": body.decode()}))
