"""
One node of a training, as a rented machine would run it: the examples, a small model, and nothing of the tests but a log.

What a unit teaches is an output of its own, put once and named by epoch and unit, before the unit is acknowledged: so a unit
that two nodes worked on counts once, and what a dead node had acknowledged is there. When an epoch is over, each node sums
what all its units taught, in the same order, and so has the same weights.
"""

import json
import os
import sys
import time
import zlib

import numpy as np
import torch

given = json.load(sys.stdin)
sys.path.insert(0, given["examples"])

from penstock_checkpoint import put, restore_from, save  # noqa: E402
from penstock_dataset import PenstockDataset  # noqa: E402
from penstock_job import Job, fetch  # noqa: E402

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
CHUNK, SHAPE, STEP = (42, 60), (168, 360), 0.5
NODE, PREFIX = given["node"], given["outputPrefix"]


def note(event, **more):
    """A line that stays, however the process ends."""
    with open(given["log"], "a", encoding="utf-8") as log:
        log.write(json.dumps({"node": NODE, "event": event, **more}) + "\n")


def samples_of(key, body):
    """A chunk of precipitation as samples: where on the globe, and how much."""
    row, column = (int(at) for at in key.rsplit("/", 1)[1].split("."))
    values = np.frombuffer(zlib.decompress(body), "<i2").reshape(CHUNK) / 2000
    rows = (row * CHUNK[0] + np.arange(CHUNK[0])) / SHAPE[0] * 2 - 1
    columns = (column * CHUNK[1] + np.arange(CHUNK[1])) / SHAPE[1] * 2 - 1
    lat, lon = np.meshgrid(rows, columns, indexing="ij")
    known = np.stack([lat, lat**2, np.cos(np.pi * lat), np.sin(np.pi * lon), np.cos(np.pi * lon)], axis=-1)
    return torch.from_numpy(known.reshape(-1, 5)), torch.from_numpy(values.reshape(-1, 1))


def lesson(key, body):
    """The sum of squared errors of a chunk, how many samples it has, and the gradient, as one vector."""
    known, wanted = samples_of(key, body)
    loss = ((model(known) - wanted) ** 2).sum()
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    return np.concatenate([[loss.item(), len(wanted)], *(part.detach().numpy().ravel() for part in gradient)])


def lesson_key(epoch, unit):
    return f"{PREFIX}lessons/{epoch}/{unit}"


def learn(epoch, units, known):
    """Sums what the units of an epoch taught, and takes one step; returns the mean loss before it."""
    total = None
    for unit in range(units):
        if unit in known:
            taught = known[unit]
        else:
            taught = np.frombuffer(fetch(f"{given['outputRoot']}{lesson_key(epoch, unit)}", {})[1])
        total = taught.copy() if total is None else total + taught
    at = 2
    with torch.no_grad():
        for parameter in model.parameters():
            gradient = torch.from_numpy(total[at : at + parameter.numel()]).reshape(parameter.shape)
            parameter -= STEP * gradient / total[1]
            at += parameter.numel()
    return total[0] / total[1]


def evaluate(keys):
    """The mean loss of the weights as they are, over all the input."""
    with torch.no_grad():
        totals = [lesson_loss(key, fetch(f"{given['root']}{key}", {})[1]) for key in keys]
    return sum(loss for loss, _ in totals) / sum(count for _, count in totals)


def lesson_loss(key, body):
    known, wanted = samples_of(key, body)
    return ((model(known) - wanted) ** 2).sum().item(), len(wanted)


class Watched(Job):
    """The example's client, with a line in the log for each read; one URL is let run out before it is used."""

    is_stale = given.get("stale", False)

    def read(self, part, via="edge"):
        if Watched.is_stale:
            Watched.is_stale = False
            asked = {"method": "GET", "via": "r2", "keys": [part["key"]], "expiresSeconds": 1}
            signed = self.call("urls", asked)["urls"][0]
            part.update(url=signed["url"], headers=signed["headers"])
            time.sleep(2.5)
        body = super().read(part, via)
        note("read", key=part["key"], refreshed="refreshed" in part, cache=part["answered"].get("Cache-Status", ""))
        return body

    def ack(self, lease, outcome="done", **more):
        if outcome == "failed":
            note("failed", **more)
        return super().ack(lease, outcome, **more)


sys.modules["penstock_dataset"].Job = Watched

torch.manual_seed(7)
model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
first, known, losses = 0, {}, []
if given.get("restore"):
    kept = restore_from(given["restore"])
    model.load_state_dict(kept["model"])
    first, known, losses = kept["epoch"], kept["lessons"], kept["losses"]
    note("restored", epoch=first, lessons=len(known))

note("begin", pid=os.getpid())
for epoch in range(first, given["epochs"]):
    lessons = dict(known)
    dataset = PenstockDataset(NODE, epoch=epoch, ahead=2, heartbeat_seconds=0.5)
    units = Job(NODE).call("checkpoint", {})["progress"]["units"]
    for unit in dataset.units(acknowledge=False):
        time.sleep(given.get("slowSeconds", 0))
        [(part, body)] = unit["parts"]
        taught = lesson(part["key"], body)
        put(dataset.job, lesson_key(epoch, unit["unit"]), taught.tobytes())
        outcome = dataset.job.ack(unit["lease"], bytes=len(body))
        note(outcome, epoch=epoch, unit=unit["unit"], key=part["key"], attempt=unit["attempt"])
        lessons[unit["unit"]] = taught
        dataset.job.said = {"epoch": epoch, "step": unit["unit"], "loss": taught[0] / taught[1]}
        if given.get("saveAt") == [epoch, len(lessons)]:
            weights = model.state_dict()
            state = save(dataset.job, f"{PREFIX}checkpoints/", "middle", lambda: {
                "model": weights, "epoch": epoch, "lessons": lessons, "losses": losses,
            })  # fmt: skip
            note("saved", state=state)
            sys.exit(0)
    losses.append(learn(epoch, units, known if epoch == first else {}))
    note("epoch", epoch=epoch, loss=losses[-1])

print(json.dumps({"node": NODE, "losses": [*losses, evaluate(given["keys"])]}))
