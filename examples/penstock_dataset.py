"""A PyTorch IterableDataset over the units of a Penstock job. Needs torch and penstock_job.py, and no package of ours.

    for unit in DataLoader(PenstockDataset("node-0"), batch_size=None, num_workers=2):
        for part, body in unit["parts"]:    # body: bytes; None is a chunk of fill values
            train(part["key"], body)

Any number of nodes, with any number of workers, share an epoch; more may come, and what one held that has gone is
another's. A unit is acknowledged when the next one is asked for, since it was used by then. With `acknowledge=False` that
is yours, once what came of the unit is safe: `job.ack(unit["lease"])`; where that says "expired", do not count it.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from torch.utils.data import IterableDataset, get_worker_info

from penstock_job import Job, Refused


class PenstockDataset(IterableDataset):
    def __init__(self, node, epoch=None, ahead=8, threads=4, via="edge", acknowledge=True, heartbeat_seconds=20):
        """`epoch`: only that one, else all that are left. `ahead`: units that are leased, and read, before they are wanted."""
        self.node, self.epoch, self.ahead, self.threads, self.via = node, epoch, ahead, threads, via
        self.acknowledge, self.heartbeat_seconds = acknowledge, heartbeat_seconds

    def __iter__(self):
        worker = get_worker_info()
        self.job = Job(self.node if worker is None else f"{self.node}-w{worker.id}")
        ahead, is_over = [], False
        with self.job.beating(self.heartbeat_seconds), ThreadPoolExecutor(self.threads) as pool:
            try:
                while ahead or not is_over:
                    if not is_over and len(ahead) <= self.ahead // 2:
                        answer = self.job.lease(self.ahead, self.via, self.epoch)
                        is_over = answer["state"] in ("epoch-done", "done")
                        for lease in answer["leases"]:
                            reads = [pool.submit(self.job.read, part, self.via) for part in lease["parts"]]
                            ahead.append(({**lease, "epoch": answer["epoch"]}, reads))
                        if answer["state"] == "wait" and not ahead:  # Others hold the rest, and may yet lose it.
                            time.sleep(answer["retryAfterSeconds"])
                    if ahead:
                        yield from self._take(*ahead[0])
                        ahead.pop(0)
            finally:  # Whoever leaves in the middle gives back what was not used.
                for lease, _ in ahead:
                    self._settle(lease, "released")

    def _take(self, lease, reads):
        try:
            bodies = [read.result() for read in reads]
        except (OSError, Refused) as error:  # Another node may have more luck; in the end the job names it.
            return self._settle(lease, "failed", reason=str(error)[:500])
        yield {**lease, "parts": list(zip(lease["parts"], bodies))}
        if self.acknowledge:
            self.job.ack(lease["lease"], bytes=sum(len(body or b"") for body in bodies))

    def _settle(self, lease, outcome, **more):
        try:
            self.job.ack(lease["lease"], outcome, **more)
        except (OSError, Refused):
            pass  # It runs out by itself.
