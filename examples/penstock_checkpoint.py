"""Saves and restores a checkpoint through a Penstock job: what was learnt, and where the units stand, visible when whole.

    save(job, "runs/unet-7/", f"step-{step}", lambda: {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    kept = restore(job)                          # of this job: a node that was restarted
    kept = restore_from(answer)                  # of another: what GET .../checkpoints/latest answered its submitter
"""

import io

import torch

from penstock_job import Refused, fetch


def save(job, output_prefix, name, snapshot):
    """Commits `snapshot()` and the state of the units as one checkpoint; returns that state, which a new job takes as
    `resumeFrom`. The state comes first: what is acknowledged between the two is then done again, and never lost."""
    state = job.call("checkpoint", {})["state"]
    body = io.BytesIO()
    torch.save({"units": state, **snapshot()}, body)
    forget(job, name)
    parts = put(job, f"{output_prefix}{name}/model.pt", body.getbuffer(), checkpoint=name)
    job.call("outputs/commit", {"checkpoint": name, "outputs": parts})
    return state


def forget(job, name):
    """Gives up what a try before has put and not committed: an old file is never taken for the new one."""
    try:
        job.call("outputs/abort", {"checkpoint": name})
    except Refused as refused:
        if refused.status != 404:
            raise


def restore(job, name="latest"):
    """The last checkpoint of the job, or None."""
    try:
        return restore_from(job.call(f"checkpoints/{name}"))
    except Refused as refused:
        if refused.status == 404:
            return None
        raise


def restore_from(answer):
    output = next(output for output in answer["outputs"] if output["key"].endswith("/model.pt"))
    return torch.load(io.BytesIO(fetch(output["url"], output["headers"])[1]))


def put(job, key, body, checkpoint=None):
    """Announces an output and puts it, in parts where it is large; returns what a commit wants of it. Once: what is there by
    a try before stays."""
    asked = {"outputs": [{"key": key, "size": len(body)}]}
    signed = job.call("outputs", asked if checkpoint is None else {**asked, "checkpoint": checkpoint})["outputs"][0]
    if signed["upload"] == "put":
        try:
            fetch(signed["url"], signed["headers"], body, "PUT")
        except Refused as refused:
            if refused.status != 412:
                raise
        return []
    parts, at = [], 0
    for number in range(1, signed["partCount"] + 1):
        part = job.call("outputs/parts", {"key": key, "parts": [number]})["parts"][0]
        answered, _ = fetch(part["url"], part["headers"], body[at : at + part["size"]], "PUT")
        parts.append({"number": number, "etag": answered["ETag"].strip('"')})
        at += part["size"]
    return [{"key": key, "parts": parts}]
