import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { retireOutputs } from "../../queues/manifest/retire.ts";
import { directoryOf } from "../../workers/adapters/objects.ts";
import { sealedKeysOf } from "../../workers/adapters/sealed-keys.ts";
import { failure } from "../../workers/core/failure.ts";
import { retireMessage } from "../../workers/core/jobs/retire-message.ts";
import { fail } from "../../workers/core/result.ts";
import { apiTokens } from "./harness/api.ts";
import { handOver, notification } from "./harness/notify.ts";
import { heldStill, type SealableJob, sealableJob } from "./harness/output-jobs.ts";
import { deliverOutbox, outboxOf, outputIn, putBy } from "./harness/outputs.ts";
import { must } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});
heldStill();

const fresh = () => sealableJob(seen, { checkpoints: { keep: 1 } });

/** Announces, puts and commits a checkpoint of outputs with these bytes. */
async function saved(at: SealableJob, checkpoint: string, bytes: Record<string, string>) {
  const outputs = Object.entries(bytes).map(([key, { length }]) => ({ key, size: length }));
  const signed = await at.announce(outputs, { checkpoint });
  const put = await Promise.all(signed.map((each, index) => putBy(each, Object.values(bytes)[index] ?? "")));
  expect((await at.ask("outputs/commit", { checkpoint })).status).toBe(200);
  return put;
}
const retireOf = async (at: SealableJob) => (await outboxOf(at)).find(({ type }) => type === "retire");
const isThere = async (at: SealableJob, key: string) => (await env.DATASETS.head(`${at.name}/${key}`)) !== null;

describe("a message to delete an old checkpoint that comes once more", { timeout: 60_000 }, () => {
  it("deletes nothing that was committed at its keys since, of the same bytes", async () => {
    const at = await fresh();
    await saved(at, "s1", { "runs/even": "{}" });
    await saved(at, "s2", { "runs/odd": "{}" });
    const late = await retireOf(at);
    await deliverOutbox(at);
    expect(await isThere(at, "runs/even")).toBe(false);
    await saved(at, "s3", { "runs/even": "{}" });
    await deliverOutbox(at);
    await handOver([late]);
    expect([await isThere(at, "runs/even"), await rowAt(at.name, "runs/even")]).toMatchObject([true, { size: 2 }]);
    expect((await outputIn(at, "runs/even"))?.state).toBe("committed");
  });

  it("deletes nothing either where the job was told before, and who told it was killed", async () => {
    const at = await fresh();
    await saved(at, "s1", { "runs/even": "{}" });
    await saved(at, "s2", { "runs/odd": "{}" });
    const late = retireMessage.parse(await retireOf(at));
    await deliverOutbox(at);
    await saved(at, "s3", { "runs/even": "{}" });
    // What was put for the new announcement goes by the name of the old one.
    const custom = { "penstock-job": at.spec.id, "penstock-output": String(late.items[0]?.generation) };
    await env.DATASETS.put(`${at.name}/runs/even`, "{}", { customMetadata: custom });
    expect(await retireOutputs(late, env)).toEqual({ kind: "ack" });
    expect(await isThere(at, "runs/even")).toBe(true);
  });

  it("says nothing of what a later message is to delete", async () => {
    const at = await fresh();
    await saved(at, "s1", { "runs/even": "1" });
    await saved(at, "s2", { "runs/odd": "2" });
    const late = await retireOf(at);
    await deliverOutbox(at);
    await saved(at, "s3", { "runs/even": "3" });
    await saved(at, "s4", { "runs/other": "4" });
    expect((await outputIn(at, "runs/even"))?.state).toBe("deleting");
    await handOver([late]);
    await deliverOutbox(at);
    expect([await isThere(at, "runs/even"), (await outputIn(at, "runs/even"))?.state]).toEqual([false, "deleted"]);
  });

  it("lets go of nothing that another delivery of it needs, when it fails", async () => {
    const at = await fresh();
    await saved(at, "s1", { "runs/even": "1" });
    await deliverOutbox(at);
    await saved(at, "s2", { "runs/odd": "2" });
    const message = retireMessage.parse(await retireOf(at));
    const [looked, failed] = [Promise.withResolvers<null>(), Promise.withResolvers<null>()];
    let second: Promise<unknown> = Promise.resolve();
    await retireOutputs(message, env, async () => {
      second = retireOutputs(message, env, async (...asked) => {
        const found = await sealedKeysOf(env)(...asked);
        looked.resolve(null);
        await failed.promise;
        return found;
      });
      await looked.promise;
      return fail(failure("store-unavailable"));
    });
    const sealed = await at.dataset.stub.seal(at.dataset.id, { note: "", aliases: [] });
    failed.resolve(null);
    await second;
    expect([sealed, await isThere(at, "runs/even")]).toMatchObject([{ failure: { code: "version-sealing" } }, false]);
  });
});

describe("a checkpoint that is committed", { timeout: 60_000 }, () => {
  it("is in no version by half, where a notification comes before its rows", async () => {
    const at = await fresh();
    const claim = { name: at.name, kind: "files" as const, bucket: "DATASETS", prefix: `${at.name}/`, schedule: null };
    must(await directoryOf(env).claimDataset(claim, at.dataset.id));
    const [put] = await saved(at, "s1", { "runs/a": "1", "runs/b": "2" });
    await handOver([notification(`${at.name}/runs/a`, put?.etag ?? "")]);
    expect(await rowAt(at.name, "runs/a")).toBeDefined();
    const seal = () => at.dataset.stub.seal(at.dataset.id, { note: "", aliases: [] });
    expect(await seal()).toMatchObject({ failure: { code: "version-sealing" } });
    await deliverOutbox(at);
    expect(await at.dataset.seal()).toMatchObject({ objects: 2 });
  });

  it("holds sealing by itself alone, whatever its name", async () => {
    const at = await fresh();
    await saved(at, "s1", { "runs/a": "1" });
    await saved(at, "s2", { "runs/b": "2" });
    const retire = await retireOf(at);
    // The number of the message that deletes s1.
    await saved(at, String((retire as unknown as { seq: number }).seq), { "runs/c": "3" });
    const [rows] = (await outboxOf(at)).filter(({ type }) => type === "rows").slice(-1);
    await handOver([retire]);
    expect(await at.dataset.stub.seal(at.dataset.id, { note: "", aliases: [] })).toMatchObject({ ok: false });
    await handOver([rows]);
    await deliverOutbox(at);
    expect(await at.dataset.seal()).toMatchObject({ objects: 1 });
  });
});
