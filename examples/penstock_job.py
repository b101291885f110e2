"""All that a node says to Penstock, with Python's standard library alone: copy this file beside your script.

It reads PENSTOCK_URL, PENSTOCK_JOB and PENSTOCK_TOKEN, as the job's `environment` has them.
"""

import calendar
import contextlib
import http.client
import json
import math
import os
import threading
import time
import urllib.error
import urllib.request
import uuid


AGENT = {"user-agent": "penstock-node"}  # Cloudflare's Browser Integrity Check refuses Python's own.


class Refused(Exception):
    """An answer that trying again does not change: `status`, and the problem's text with its `code`."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body[:500].decode(errors='replace')}")
        self.status, self.code = status, None
        with contextlib.suppress(ValueError, KeyError, TypeError):  # It may be a proxy's page.
            self.code = json.loads(body)["code"]


def fetch(url, headers, body=None, method=None, tries=7):
    """One request: (headers, bytes). Where trying again helps, it does, after 1, 2, 4 ... seconds or when it is told."""
    for tried in range(tries):
        wait = 2.0**tried
        try:
            request = urllib.request.Request(url, data=body, headers={**AGENT, **headers}, method=method)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            if error.code not in (408, 425, 429, 500, 502, 503, 504) or tried == tries - 1:
                raise Refused(error.code, error.read()) from None
            wait = float(error.headers.get("Retry-After") or wait)
        except (OSError, http.client.HTTPException) as error:  # It was not answered, or broke off in the middle.
            if tried == tries - 1:
                raise OSError(f"{method or 'GET or POST'}: {error!r}") from error
        time.sleep(wait)


def finite(said):
    """What JSON can say of it, which has no NaN and no infinity: such a loss is null, and such a metric is left out."""
    said = dict(said)
    if not math.isfinite(said.get("loss") or 0):
        said["loss"] = None
    if "metrics" in said:
        said["metrics"] = {name: value for name, value in said["metrics"].items() if math.isfinite(value)}
    return said


def seconds_of(text):
    """Of a time as Penstock writes it, RFC 3339 in UTC."""
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


class Job:
    def __init__(self, node):
        self.said = {}  # What heartbeats say: step, epoch, loss, metrics.
        self.node, self.url = node, f"{os.environ['PENSTOCK_URL']}/v1/jobs/{os.environ['PENSTOCK_JOB']}/"
        self.headers = {"authorization": f"Bearer {os.environ['PENSTOCK_TOKEN']}", "content-type": "application/json"}

    def call(self, path, body=None, tries=7):
        """POSTs JSON (without a body: a GET), and returns what is answered. Each route may be asked again."""
        sent = None if body is None else json.dumps(body).encode()
        return json.loads(fetch(self.url + path, self.headers, sent, tries=tries)[1])

    @contextlib.contextmanager
    def beating(self, seconds):
        """Says every so often that the node is there: one that is silent loses its leases."""
        stop = threading.Event()

        def beat():
            while not stop.wait(seconds):
                for said in (self.said, {}):  # Where what is said is refused, the node is heard all the same.
                    with contextlib.suppress(Exception):  # The next one may be heard.
                        self.call("heartbeat", {"node": self.node, **finite(said)})
                        break

        threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            stop.set()

    def lease(self, count, via="edge", epoch=None):
        """Up to `count` units. One `request` is one lease however often it is asked: a lost answer loses none."""
        asked = {"node": self.node, "request": uuid.uuid4().hex, "count": count, "via": via}
        try:
            return self.call("leases", asked if epoch is None else {**asked, "epoch": epoch})
        except Refused as refused:  # Another node has finished the job, or is about to.
            if refused.code not in ("job-ended", "job-finishing"):
                raise
            state = "done" if refused.code == "job-ended" else "wait"
            return {"state": state, "leases": [], "epoch": epoch, "retryAfterSeconds": 5}

    def ack(self, lease, outcome="done", **more):
        """What became of a unit. "expired": it is another node's by now, and must not be counted here."""
        acks = [{"lease": lease, "outcome": outcome, **more}]
        try:
            return self.call("acks", {"node": self.node, "acks": acks})["acks"][0]["outcome"]
        except Refused as refused:  # The job is over: the unit was done by another, or is nobody's any more.
            if refused.code != "job-ended":
                raise
            return "expired"

    def release(self, leases):
        """Gives units back that were not used, by one try: who leaves does not wait, and they run out by themselves."""
        acks = [{"lease": lease, "outcome": "released"} for lease in leases]
        with contextlib.suppress(OSError, Refused):
            if acks:
                self.call("acks", {"node": self.node, "acks": acks}, tries=1)

    def read(self, part, via="edge"):
        """The bytes of a part of a unit, or None for a chunk of fill values. A URL that has expired is asked for anew."""
        while part["url"] is not None:
            headers, range_ = dict(part["headers"]), part.get("range")
            if range_:
                headers["range"] = f"bytes={range_['offset']}-{range_['offset'] + range_['length'] - 1}"
            try:
                part["answered"], body = fetch(part["url"], headers)
            except Refused as refused:
                if refused.status not in (401, 403) or part.get("refreshed") == part["url"]:
                    raise
                asked = {"method": "GET", "via": via, "keys": [part["key"]]}
                fresh = self.call("urls", asked)["urls"][0]
                part.update(url=fresh["url"], headers=fresh["headers"], refreshed=fresh["url"])
                continue
            if len(body) != part["size"]:
                raise OSError(f"{part['key']}: {len(body)} bytes, not {part['size']}")
            return body
