"""The chunks of a job's Zarr arrays, leased unit by unit and decoded by zarr-python over obstore.

    for unit in ZarrUnits("node-0"):            # needs zarr, obstore, numpy and penstock_job.py
        for path, selection, values in unit["chunks"]:
            train(values)                        # selection: where they stand in the array, a slice for each dimension

obstore reads a chunk, or the inner chunks of a shard that are asked for, over the signed root URL of the job, which is asked
for anew before it expires.
"""

import calendar
import math
import time

import zarr
from obstore.store import HTTPStore
from zarr.storage import ObjectStore

from penstock_job import Job


class ZarrUnits:
    def __init__(self, node, epoch=None, count=4):
        self.job, self.epoch, self.count = Job(node), epoch, count
        self.fresh_until, self.arrays = 0.0, {}

    def array(self, path):
        """An array of the version that the job reads; opened anew when the URL is."""
        if time.monotonic() >= self.fresh_until:
            read = self.job.call("token", {})["read"]
            url, self.arrays = read["rootUrl"].rstrip("/"), {}
            self.fresh_until = time.monotonic() + seconds_between(read["serverTime"], read["refreshAfter"])
            self.store = HTTPStore.from_url(url, client_options={"allow_http": url.startswith("http:")})
        if path not in self.arrays:
            self.arrays[path] = zarr.open_array(ObjectStore(self.store, read_only=True), path=path, mode="r")
        return self.arrays[path]

    def __iter__(self):
        while True:
            answer = self.job.lease(self.count, epoch=self.epoch)
            for lease in answer["leases"]:
                chunks = [self.decode(part) for part in lease["parts"] if "chunk" in part]
                yield {"unit": lease["unit"], "epoch": answer["epoch"], "chunks": chunks}
                self.job.ack(lease["lease"], bytes=sum(values.nbytes for _, _, values in chunks))
            if answer["state"] in ("epoch-done", "done"):
                return
            if answer["state"] == "wait":
                time.sleep(answer["retryAfterSeconds"])

    def decode(self, part):
        array = self.array(part["array"])
        # What a key holds: of a sharded array, a shard.
        whole = array.shards or array.chunks
        selection = tuple(
            slice(at * length, min((at + 1) * length, size))
            for at, length, size in zip(part["chunk"], whole, array.shape)
        )
        return part["array"], selection, array[selection]


def seconds_between(earlier, later):
    seconds = [calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) for text in (earlier, later)]
    return max(0, math.floor(seconds[1] - seconds[0]))
