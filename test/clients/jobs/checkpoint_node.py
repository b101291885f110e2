"""Saves checkpoints by the example, one of them so large that it goes up in parts, and restores the last one."""

import json
import sys

import torch

given = json.load(sys.stdin)
sys.path.insert(0, given["examples"])

from penstock_checkpoint import restore, save  # noqa: E402
from penstock_job import Job, Refused  # noqa: E402

job = Job("node-0")
before = restore(job)
torch.manual_seed(1)
small = {"step": 1, "weights": torch.rand(1000)}
large = {"step": 2, "weights": torch.rand(given["floats"])}
save(job, given["outputPrefix"], "step-1", lambda: small)
first = restore(job)
save(job, given["outputPrefix"], "step-2", lambda: large)
last = restore(job)
try:
    restored = restore(job, "step-1")
except Refused as refused:
    restored = str(refused)
print(json.dumps({
    "before": before,
    "first": first["step"] == 1 and torch.equal(first["weights"], small["weights"]),
    "last": last["step"] == 2 and torch.equal(last["weights"], large["weights"]),
    "state": isinstance(last["units"], str),
    "older": restored if restored is None else "there",
}))  # fmt: skip
