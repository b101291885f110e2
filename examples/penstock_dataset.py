"""A PyTorch IterableDataset over the units of a Penstock job. Needs torch and penstock_job.py, and no package of ours.

    dataset = PenstockDataset("node-0")
    for unit in dataset.units(DataLoader(dataset, batch_size=None, num_workers=2)):
        for part, body in unit["parts"]:    # body: bytes; None is a chunk of fill values
            train(part["key"], body)

Any number of nodes, with any number of workers, share an epoch; more may come, and what one held that has gone is
another's. A unit is acknowledged when the next one is asked for, since it was used by then. With `acknowledge=False` that
is yours, once what came of the unit is safe: `dataset.job.ack(unit["lease"])`; where that says "expired", do not count it.
"""

import contextlib
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

from torch.utils.data import IterableDataset, get_worker_info

from penstock_job import Job, Refused, seconds_of


class PenstockDataset(IterableDataset):
    def __init__(self, node, epoch=None, ahead=2, threads=4, via="edge", heartbeat_seconds=20):
        """`epoch`: only that one, else all that are left. `ahead`: units that are leased, and read, before they are wanted.

        Each worker holds up to 1.5 times as many, and the DataLoader two more of it: what is used of all these must be used
        within the job's `leaseSeconds`, or they are another's by then."""
        self.job, self.epoch, self.ahead, self.threads, self.via = Job(node), epoch, ahead, threads, via
        self.heartbeat_seconds, self.is_left = heartbeat_seconds, multiprocessing.Event()

    def units(self, loader=None, acknowledge=True):
        """What a DataLoader over this dataset brings (without one: this process reads by itself), acknowledged in time.

        Until its end the node is heard, with what the training puts into `dataset.job.said`. What takes long after it, such
        as the last checkpoint and `finish`, wants `with dataset.job.beating(20):` around it."""
        if self.epoch is not None and getattr(loader, "persistent_workers", False):
            raise ValueError("Workers that stay keep the epoch they began with: leave persistent_workers, or the epoch, out.")
        units, turns = iter(self if loader is None else loader), 0  # Workers are forked before there is a thread that beats.
        with self.job.beating(self.heartbeat_seconds):
            for unit in units:
                if unit["lease"] is None:
                    turns += 1  # A DataLoader takes from each worker in turn: after so many, none of them has any.
                    if turns >= getattr(loader, "num_workers", 0):
                        time.sleep(unit["retryAfterSeconds"])
                        turns = 0
                    continue
                turns, is_used = 0, False
                if time.monotonic() >= unit["until"]:  # Another's by now, and perhaps used there.
                    continue
                try:
                    yield unit
                    is_used = True
                finally:
                    if not is_used:
                        self._leave(units, [unit] if acknowledge else [])
                if acknowledge:
                    self.job.ack(unit["lease"], bytes=sum(len(body or b"") for _, body in unit["parts"]))

    def _leave(self, units, in_hand):
        """Whoever leaves in the middle gives back what is in hand, what workers hold, and what they have sent ahead."""
        self.is_left.set()
        with contextlib.suppress(Exception):  # They may be what has failed.
            in_hand += units
        self.job.release([unit["lease"] for unit in in_hand if unit["lease"] is not None])
        self.is_left.clear()

    def __iter__(self):
        """The same, unacknowledged. A lease of None says that others hold what is left, and may yet lose it: a worker that
        waited by itself would hold up the DataLoader, and with it what another worker has ready and the rest wait for."""
        if get_worker_info() is not None:
            self.job.said = {}  # A copy, as it was when the worker began: what is said is the training's.
        ahead, is_over = [], False
        with self.job.beating(self.heartbeat_seconds), ThreadPoolExecutor(self.threads) as pool:
            try:
                while (ahead or not is_over) and not self.is_left.is_set():
                    if not is_over and len(ahead) <= self.ahead // 2:
                        answer = self.job.lease(self.ahead, self.via, self.epoch)
                        is_over = answer["state"] in ("epoch-done", "done")
                        life = seconds_of(answer["expiresAt"]) - seconds_of(answer["serverTime"]) if answer["leases"] else 0
                        known = {"epoch": answer["epoch"], "until": time.monotonic() + life}
                        for lease in answer["leases"]:
                            reads = [pool.submit(self.job.read, part, self.via) for part in lease["parts"]]
                            ahead.append(({**lease, **known}, reads))
                        if answer["state"] == "wait" and not ahead:
                            yield {"lease": None, "retryAfterSeconds": answer["retryAfterSeconds"]}
                    if ahead:
                        yield from self._take(*ahead.pop(0))
            finally:
                self.job.release([lease["lease"] for lease, _ in ahead])

    def _take(self, lease, reads):
        try:
            bodies = [read.result() for read in reads]
        except (OSError, Refused) as error:  # Another node may have more luck; in the end the job names it.
            with contextlib.suppress(OSError, Refused):  # It runs out by itself.
                self.job.ack(lease["lease"], "failed", reason=str(error)[:500])
            return
        yield {**lease, "parts": list(zip(lease["parts"], bodies))}
