import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { retireOutputs } from "../../queues/manifest/retire.ts";
import { failure } from "../../workers/core/failure.ts";
import { retireMessage } from "../../workers/core/jobs/retire-message.ts";
import { fail } from "../../workers/core/result.ts";
import { apiTokens } from "./harness/api.ts";
import { failingBucket } from "./harness/failing-bucket.ts";
import { handOver, notification } from "./harness/notify.ts";
import { heldStill, pass, type SealableJob, sealableJob } from "./harness/output-jobs.ts";
import { deliverOutbox, foundAt, outboxOf, outputIn, putBy } from "./harness/outputs.ts";
import { must } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";
import { replacing } from "./harness/uploads.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});
heldStill();

const fresh = () => sealableJob(seen, { checkpoints: { keep: 1 } });

/** Announces, puts and commits a checkpoint of this many outputs. */
async function committed(at: SealableJob, name: string, count = 1) {
  const keys = Array.from({ length: count }, (_, index) => `runs/${name}/rank-${String(index).padStart(5, "0")}`);
  const fixed = { size: 1, contentType: "x", sha256: null, partBytes: null };
  const announced = must(
    await at.job.announceOutputs(
      keys.map((key) => ({ key, ...fixed })),
      name,
    ),
  );
  const found = announced.map(async ({ key, generation }) => {
    const marks = { "penstock-job": at.spec.id, "penstock-output": String(generation) };
    return foundAt(
      key,
      await env.DATASETS.put(`${at.name}/${key}`, name[1] ?? "", { customMetadata: marks }),
      at.spec.id,
    );
  });
  must(await at.job.commitOutputs(await Promise.all(found)));
}
const seal = ({ dataset }: SealableJob) => dataset.stub.seal(dataset.id, { note: "", aliases: [] });
const HELD = { ok: false, failure: { code: "version-sealing" } };

/** Hands over the messages of this type that the job waits for. */
async function deliver(at: SealableJob, type: string, most = Number.POSITIVE_INFINITY, as: Env = env) {
  const messages = (await outboxOf(at)).filter((message) => message.type === type).slice(0, most);
  for (const message of messages) await handOver([message], as);
  return messages;
}

describe("a checkpoint of several messages", { timeout: 60_000 }, () => {
  it("is in a version as a whole: none is sealed after the first message and before the last", async () => {
    const at = await fresh();
    await committed(at, "s1", 900);
    const [one] = await deliver(at, "rows", 1);
    expect(await outboxOf(at)).not.toHaveLength(0);
    expect(await seal(at)).toMatchObject(HELD);
    await deliverOutbox(at);
    // One that comes twice holds nothing.
    await handOver([one]);
    expect(await at.dataset.seal()).toMatchObject({ objects: 900 });
  });

  it("stops sealing for a while only, where the rest of it does not come", async () => {
    const at = await fresh();
    await committed(at, "s1", 900);
    await deliver(at, "rows", 1);
    pass((env.SILENCE_SECONDS + 901) * 1000);
    expect(await seal(at)).toMatchObject({ ok: true });
  });

  it("is deleted from a version as a whole", async () => {
    const at = await fresh();
    await committed(at, "s1", 300);
    await committed(at, "s2", 300);
    await deliver(at, "rows");
    await deliver(at, "retire", 1);
    expect(await outboxOf(at)).not.toHaveLength(0);
    expect(await seal(at)).toMatchObject(HELD);
    await deliverOutbox(at);
    expect(await at.dataset.seal()).toMatchObject({ objects: 300 });
  });
});

describe("an old checkpoint", { timeout: 60_000 }, () => {
  it("that R2 refuses to delete is kept after eight tries: sealing goes on", async () => {
    const at = await fresh();
    await committed(at, "s1");
    await committed(at, "s2");
    await deliver(at, "rows");
    const refusing = {
      ...env,
      DATASETS: failingBucket(env.DATASETS, (m) => (m === "delete" ? "refused" : null)).bucket,
    };
    for (let tried = 1; tried < 8; tried++) {
      await deliver(at, "retire", 1, refusing);
      expect(await seal(at), String(tried)).toMatchObject(HELD);
      pass(env.SILENCE_SECONDS * 1000);
    }
    await deliver(at, "retire", 1, refusing);
    expect(await outboxOf(at)).toEqual([]);
    expect(await outputIn(at, "runs/s1/rank-00000")).toMatchObject({ state: "kept" });
    expect(await at.dataset.seal()).toMatchObject({ objects: 2 });
    // It is an object like any other by then, and stays one.
    const there = await env.DATASETS.head(`${at.name}/runs/s1/rank-00000`);
    must(await at.dataset.stub.hint(at.dataset.id, [{ key: "runs/s1/rank-00000", etag: null }]));
    await handOver([notification(`${at.name}/runs/s1/rank-00000`, there?.etag ?? "")]);
    expect(await rowAt(at.name, "runs/s1/rank-00000")).toBeDefined();
  });

  it("whose dataset is another by now is let go", async () => {
    const at = await fresh();
    await committed(at, "s1");
    await committed(at, "s2");
    const messages = (await outboxOf(at)).map((message) => ({ ...message, datasetId: "ds_another" }));
    for (const message of messages) await handOver([message]);
    expect([await outboxOf(at), await env.DATASETS.head(`${at.name}/runs/s1/rank-00000`)]).toEqual([
      [],
      expect.anything(),
    ]);
  });

  it("leaves no row where it is deleted before its own rows have come", async () => {
    const at = await fresh();
    await committed(at, "s1");
    await committed(at, "s2");
    const messages = (await outboxOf(at)).toReversed();
    expect(messages.map(({ type }) => type)).toEqual(["retire", "rows", "rows"]);
    for (const message of messages) await handOver([message]);
    expect(await rowAt(at.name, "runs/s1/rank-00000")).toBeUndefined();
    expect(await rowAt(at.name, "runs/s2/rank-00000")).toBeDefined();
  });

  it("has no row by what an old URL puts between its delete and the job's word of it, nor later", async () => {
    const at = await fresh();
    const [old] = await at.announce([{ key: "runs/s1/a", size: 5 }], { checkpoint: "s1" });
    await putBy(old ?? {}, "12345");
    expect((await at.ask("outputs/commit", { checkpoint: "s1" })).status).toBe(200);
    await committed(at, "s2");
    await deliver(at, "rows");
    const message = (await outboxOf(at)).find(({ type }) => type === "retire");
    const settleRetired = () => Promise.reject(new Error("killed"));
    const owesRetired = () => at.job.owesRetired(message?.seq ?? 0);
    const getByName = (name: string) => replacing(env.GPU_JOB.getByName(name), { settleRetired, owesRetired });
    const killed = { ...env, GPU_JOB: { getByName } as unknown as Env["GPU_JOB"] };
    await expect(retireOutputs(retireMessage.parse(message), killed)).rejects.toThrow("killed");
    const put = await putBy(old ?? {}, "late-");
    const told = notification(`${at.name}/runs/s1/a`, put?.etag ?? "");
    await handOver([told]);
    await deliverOutbox(at);
    await handOver([told]);
    expect(await rowAt(at.name, "runs/s1/a")).toBeUndefined();
    expect(await at.dataset.seal()).toMatchObject({ objects: 1 });
  });

  it("is looked up in versions by no more requests than an invocation has, however often it is halved", async () => {
    const at = await fresh();
    await committed(at, "s1", 150);
    await committed(at, "s2", 1);
    await deliver(at, "rows");
    const message = (await outboxOf(at)).find(({ type }) => type === "retire");
    let requests = 0;
    await retireOutputs(retireMessage.parse(message), env, async (_, __, most = 0) => {
      requests += most;
      return fail(failure("too-many-keys"));
    });
    expect(requests).toBeLessThanOrEqual(7000);
    expect((await outputIn(at, "runs/s1/rank-00000"))?.state).toBe("kept");
  });
});
