import { createMessageBatch } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { consumeDeadLetters } from "../../queues/dead-letter/consumer.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { givenRow } from "../harness/rows.ts";
import { apiTokens } from "./harness/api.ts";
import { keysAtSource, runBack, seen as backSeen } from "./harness/back.ts";
import { carry } from "./harness/delivery.ts";
import { handOver, keepingSent, notification } from "./harness/notify.ts";
import { first, freshJobs, heldStill, text } from "./harness/output-jobs.ts";
import { claimed, deliverOutbox, givenJob, outboxOf, putBy } from "./harness/outputs.ts";
import { must, registerDataset, startRun, statusOf } from "./harness/run.ts";
import { envWith, fill, text as bytes } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});
heldStill();

const fresh = freshJobs("hidden", () => seen);

/** A dataset with these objects at its source, and a job on it. */
async function withSource(name: string, objects: Record<string, string>) {
  vi.useRealTimers();
  await fill(`${name}/`, new Map(Object.entries(objects).map(([key, content]) => [key, bytes(content)])));
  await claimed(name);
  await registerDataset(name, `${name}/`);
  return { name, ...(await givenJob(name, {}, seen)) };
}

describe("what a job has not committed", { timeout: 120_000 }, () => {
  it("is not exported by a run back, nor verified; what it has committed is", async () => {
    const at = await withSource("hidden-back", { kept: "source's" });
    await carry(await startRun(at.name, backSeen));
    const [half, aborted, done] = await at.announce([
      { key: "runs/half", size: 5 },
      { key: "runs/aborted", size: 5 },
      { key: "runs/done", size: 5 },
    ]);
    await putBy(half ?? {}, "half-");
    await putBy(done ?? {}, "done-");
    await at.ask("outputs/commit", { outputs: [{ key: "runs/done" }] });
    await deliverOutbox(at);
    await at.ask("outputs/abort", { keys: ["runs/aborted"] });
    await putBy(aborted ?? {}, "abort");
    const { status } = await runBack(at.name);
    expect([status.state, status.failed.objects]).toEqual(["done", 0]);
    expect(await keysAtSource(`${at.name}/`)).toEqual(["kept", "runs/done"]);
  });

  // A migration finds objects equal by its listings alone, which do not tell who put them.
  it("counts as the source's for a migration that finds the same bytes there; an abort takes it with its row, and the next run copies it", async () => {
    const at = await withSource("hidden-found", { "runs/same": "12345", other: "x" });
    await putBy(first(await at.announce([{ key: "runs/same", size: 5 }])), "12345");
    const run = await startRun(at.name, backSeen);
    await carry(run);
    expect((await statusOf(run)).failed).toMatchObject({ objects: 0 });
    await at.ask("outputs/abort", { keys: ["runs/same"] });
    expect([await text(at.name, "runs/same"), await rowAt(at.name, "runs/same")]).toEqual([undefined, undefined]);
    await carry(await startRun(at.name, backSeen));
    expect([await text(at.name, "runs/same"), (await rowAt(at.name, "runs/same"))?.etag]).toEqual([
      "12345",
      expect.any(String),
    ]);
  });

  it("loses its row, where it had one, when it is deleted", async () => {
    const at = await fresh();
    const put = await putBy(first(await at.announce([{ key: "runs/a", size: 5 }])), "12345");
    const row = givenRow("runs/a", { etag: put?.etag ?? "" });
    must(await datasetOf(env, at.name).applyRows(`ds_${at.name}`, [row]));
    await at.ask("outputs/abort", { keys: ["runs/a"] });
    expect([await text(at.name, "runs/a"), await rowAt(at.name, "runs/a")]).toEqual([undefined, undefined]);
  });

  it("is no index of shards", async () => {
    const at = await fresh();
    await putBy(first(await at.announce([{ key: "runs/mds/0", size: 3 }])), "abc");
    await at.ask("outputs/commit", { outputs: [{ key: "runs/mds/0" }] });
    await deliverOutbox(at);
    const shard = { basename: "0", bytes: 3, hashes: { sha256: "a".repeat(64) } };
    const index = JSON.stringify({
      version: 2,
      shards: [{ format: "mds", version: 2, samples: 1, zip_data: null, raw_data: shard }],
    });
    const signed = first(await at.announce([{ key: "runs/mds/index.json", size: index.length }]));
    vi.setSystemTime(Date.now() + 5000);
    const put = await putBy(signed, index);
    const { seen: kept, sent } = keepingSent();
    await handOver([notification(`${at.name}/runs/mds/index.json`, put?.etag ?? "")], kept);
    expect(sent).toEqual([]);
    // A message of before is no reason either.
    const of = { dataset: at.name, datasetId: `ds_${at.name}`, key: "runs/mds/index.json" };
    await handOver([{ v: 1, type: "shard-index", ...of, tries: 0 }], kept);
    expect((await rowAt(at.name, "runs/mds/0"))?.sha256).toBeNull();
    await at.ask("outputs/commit", { outputs: [{ key: "runs/mds/index.json" }] });
    await deliverOutbox(at, kept);
    await handOver(sent.splice(0), kept);
    expect((await rowAt(at.name, "runs/mds/0"))?.sha256).toBe("a".repeat(64));
  });
});

describe("what a job has committed", () => {
  it("and its owner deleted, does not come back by a URL of before", async () => {
    const at = await fresh();
    const signed = first(await at.announce([{ key: "runs/a", size: 5 }]));
    await putBy(signed, "12345");
    await at.ask("outputs/commit", { outputs: [{ key: "runs/a" }] });
    await deliverOutbox(at);
    await env.DATASETS.delete(`${at.name}/runs/a`);
    await handOver([notification(`${at.name}/runs/a`, null)]);
    const put = await putBy(signed, "wrong");
    await handOver([notification(`${at.name}/runs/a`, put?.etag ?? "")]);
    expect(await rowAt(at.name, "runs/a")).toBeUndefined();
  });

  it("is told to the manifest again where the queue has given it up", async () => {
    const at = await fresh();
    await putBy(first(await at.announce([{ key: "runs/a", size: 5 }])), "12345");
    await at.ask("outputs/commit", { outputs: [{ key: "runs/a" }] });
    const body = first(await outboxOf(at));
    const dead = { id: "1", timestamp: new Date(), attempts: 9, body };
    await consumeDeadLetters(createMessageBatch("penstock-dead-letter", [dead]), seen);
    expect(await deliverOutbox(at)).toHaveLength(1);
    expect(await rowAt(at.name, "runs/a")).toBeDefined();
  });
});
