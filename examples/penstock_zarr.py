"""The chunks of a job's Zarr arrays, leased unit by unit and decoded by zarr-python over obstore.

    units = ZarrUnits("node-0")                  # needs zarr, obstore, numpy and penstock_job.py
    for unit in units:
        for path, selection, values in unit["chunks"]:
            learn(values)                        # selection: where they stand in the array, a slice for each dimension
        if units.done(unit):                     # False: it is another node's by now
            apply()

obstore reads a chunk, or the inner chunks of a shard that are asked for, over the signed root URL of the job, which is asked
for anew before it expires. A unit that was not said to be done when the next one is asked for is given back.
"""

import time

import zarr
from obstore.store import HTTPStore
from zarr.storage import ObjectStore

from penstock_job import Job, seconds_of


class ZarrUnits:
    def __init__(self, node, epoch=None, count=4, heartbeat_seconds=20):
        self.job, self.epoch, self.count, self.heartbeat_seconds = Job(node), epoch, count, heartbeat_seconds
        self.fresh_until, self.arrays, self.held = 0.0, {}, {}

    def __iter__(self):
        with self.job.beating(self.heartbeat_seconds):
            try:
                while True:
                    answer = self.job.lease(self.count, epoch=self.epoch)
                    self.held = {lease["lease"]: lease for lease in answer["leases"]}
                    for lease in answer["leases"]:
                        yield from self.read({**lease, "epoch": answer["epoch"]})
                    if answer["state"] in ("epoch-done", "done"):
                        return
                    if answer["state"] == "wait":
                        time.sleep(answer["retryAfterSeconds"])
            finally:
                self.job.release(self.held)

    def read(self, lease):
        try:
            chunks = [self.decode(part) for part in lease["parts"] if "chunk" in part]
        except Exception as error:  # Another node may have more luck; in the end the job names it.
            self.settle(lease["lease"], "failed", reason=f"{error!r}"[:500])
            return
        yield {"unit": lease["unit"], "epoch": lease["epoch"], "lease": lease["lease"], "chunks": chunks}
        if lease["lease"] in self.held:
            self.settle(lease["lease"], "released")

    def done(self, unit):
        """Whether the unit counts as this node's."""
        return self.settle(unit["lease"], "done", bytes=sum(values.nbytes for _, _, values in unit["chunks"])) == "done"

    def settle(self, lease, outcome, **more):
        self.held.pop(lease, None)
        return self.job.ack(lease, outcome, **more)

    def array(self, path):
        """An array of the version that the job reads; opened anew when the URL is."""
        if time.monotonic() >= self.fresh_until:
            read = self.job.call("token", {})["read"]
            url, self.arrays = read["rootUrl"].rstrip("/"), {}
            self.fresh_until = time.monotonic() + seconds_of(read["refreshAfter"]) - seconds_of(read["serverTime"])
            self.store = HTTPStore.from_url(url, client_options={"allow_http": url.startswith("http:")})
        if path not in self.arrays:
            self.arrays[path] = zarr.open_array(ObjectStore(self.store, read_only=True), path=path, mode="r")
        return self.arrays[path]

    def decode(self, part):
        array = self.array(part["array"])
        # Of a sharded array a key holds a shard; `selection` is there where the job asked for less than the array.
        whole = array.shards or array.chunks
        bounds = part.get("selection") or [
            (at * length, min((at + 1) * length, size))
            for at, length, size in zip(part["chunk"], whole, array.shape)
        ]
        selection = tuple(slice(start, stop) for start, stop in bounds)
        return part["array"], selection, array[selection]
