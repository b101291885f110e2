"""The IterableDataset with two worker processes over the records of a JSONL file: prints the lines that it was given."""

import json
import sys
import time

given = json.load(sys.stdin)
sys.path.insert(0, given["examples"])

from penstock_dataset import PenstockDataset  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402


def late(worker):
    """The first worker leases nearly all: the other one is asked for units while all that are left are the first one's."""
    time.sleep(2 * worker)


lines = []
dataset = PenstockDataset("node-0", ahead=4, heartbeat_seconds=0.5)
loader = DataLoader(dataset, batch_size=None, num_workers=2, worker_init_fn=late)
for _ in dataset.units(loader):
    break  # Whoever leaves in the middle holds nothing after that, also of what the workers have sent ahead.
left = dataset.job.call("checkpoint", {})["progress"]

for unit in dataset.units(loader):
    for part, body in unit["parts"]:
        found = body.decode().splitlines()
        if len(found) != part["records"]["count"]:
            sys.exit(f"{len(found)} records, not {part['records']['count']}")
        lines += [[part["records"]["first"] + at, line] for at, line in enumerate(found)]
    dataset.job.said = {"step": len(lines)}
lines.sort()
text = "".join(f"{line}\n" for _, line in lines)
print(json.dumps({"left": left, "numbers": [number for number, _ in lines], "text": text}))
