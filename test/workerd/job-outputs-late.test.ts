import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { givenRow } from "../harness/rows.ts";
import { apiTokens } from "./harness/api.ts";
import { handOver, notification } from "./harness/notify.ts";
import { codeOf, heldStill, pass, type SealableJob, sealableJob, text } from "./harness/output-jobs.ts";
import { deliverOutbox, foundAt, outputIn, putBy } from "./harness/outputs.ts";
import { must } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";
import { replacing } from "./harness/uploads.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});
heldStill();

const fresh = (more: Parameters<typeof sealableJob>[1] = {}, of?: SealableJob["dataset"]) =>
  sealableJob(seen, more, of);

async function announced(at: SealableJob, key: string, more: object = {}) {
  const [signed] = await at.announce([{ key, size: 5 }], more);
  return signed ?? {};
}
const abort = (at: SealableJob, key: string) => at.ask("outputs/abort", { keys: [key] });

/** The job's R2 answers no look. */
const withHead = (at: SealableJob, head: () => Promise<never>) =>
  runInDurableObject(at.job, (job) => {
    (job as unknown as { env: Env }).env = { ...env, DATASETS: replacing(env.DATASETS, { head }) };
    return job;
  });

describe("an abort", { timeout: 60_000 }, () => {
  it("leaves what a version holds, as where a migration has found the same bytes: it is an object like any other", async () => {
    const at = await fresh();
    const put = await putBy(await announced(at, "runs/a"), "12345");
    must(
      await datasetOf(env, at.name).applyRows(at.dataset.id, [givenRow("runs/a", { size: 5, etag: put?.etag ?? "" })]),
    );
    expect(await at.dataset.seal()).toMatchObject({ objects: 1 });
    expect((await abort(at, "runs/a")).status).toBe(200);
    expect([await text(at.name, "runs/a"), (await outputIn(at, "runs/a"))?.state]).toEqual(["12345", "kept"]);
    expect(await at.job.uncommittedAmong(at.dataset.id, [{ key: "runs/a", etag: put?.etag ?? "" }])).toEqual([]);
    // Sealing is held no longer.
    expect(await at.dataset.stub.seal(at.dataset.id, { note: "", aliases: [] })).toMatchObject({ ok: true });
  });

  it("has a row asked about that was under way when the object was deleted", async () => {
    const at = await fresh();
    const put = await putBy(await announced(at, "runs/a"), "12345");
    expect((await abort(at, "runs/a")).status).toBe(200);
    const row = givenRow("runs/a", { size: 5, etag: put?.etag ?? "" });
    const { questions } = must(await datasetOf(env, at.name).applyRows(at.dataset.id, [row]));
    expect([questions.length, await rowAt(at.name, "runs/a")]).toEqual([1, undefined]);
  });

  it("that R2 fails once is said to be under way, by an answer that is tried again", async () => {
    const at = await fresh();
    await putBy(await announced(at, "runs/a"), "12345");
    await withHead(at, () => Promise.reject(new Error("10001: away")));
    expect((await abort(at, "runs/a")).status).toBe(200);
    const again = () => at.ask("outputs", { outputs: [{ key: "runs/a", size: 5 }] });
    expect(codeOf(await again())).toEqual([503, "store-unavailable"]);
    await evictDurableObject(at.job);
    pass(10_000);
    await runDurableObjectAlarm(at.job);
    expect((await again()).status).toBe(200);
  });

  it("that is killed while it cleans is done again as soon as the object is back", async () => {
    const at = await fresh();
    await putBy(await announced(at, "runs/a"), "12345");
    const job = await withHead(at, () => new Promise<never>(() => undefined));
    await runInDurableObject(at.job, async () => {
      void job.abortOutputs(["runs/a"], null);
      await new Promise((done) => setTimeout(done, 50));
    });
    await evictDurableObject(at.job);
    await runDurableObjectAlarm(at.job);
    expect([await text(at.name, "runs/a"), (await outputIn(at, "runs/a"))?.state]).toEqual([undefined, "aborted"]);
  });

  it("frees a key whose checkpoint was deleted, and at which an old URL has put something since", async () => {
    const at = await fresh({ checkpoints: { keep: 1 } });
    const old = await announced(at, "runs/a", { checkpoint: "s1" });
    await putBy(old, "12345");
    await at.ask("outputs/commit", { checkpoint: "s1" });
    await putBy(await announced(at, "runs/b", { checkpoint: "s2" }), "12345");
    await at.ask("outputs/commit", { checkpoint: "s2" });
    await deliverOutbox(at);
    await putBy(old, "later");
    expect(codeOf(await at.ask("outputs", { outputs: [{ key: "runs/a", size: 5 }] }))).toEqual([409, "output-taken"]);
    expect((await abort(at, "runs/a")).status).toBe(200);
    await announced(at, "runs/a");
  });
});

describe("what a job never committed", { timeout: 60_000 }, () => {
  it("gives way to the next job once its own has ended, and not before", async () => {
    const one = await fresh();
    await putBy(await announced(one, "runs/step-100", { checkpoint: "step-100" }), "12345");
    const two = await fresh({}, one.dataset);
    const asked = { outputs: [{ key: "runs/step-100", size: 5 }], checkpoint: "step-100" };
    expect(codeOf(await two.ask("outputs", asked))).toEqual([409, "output-taken"]);
    must(await one.job.cancel());
    await putBy(await announced(two, "runs/step-100", { checkpoint: "step-100" }), "67890");
    expect((await two.ask("outputs/commit", { checkpoint: "step-100" })).status).toBe(200);
    expect(await text(one.name, "runs/step-100")).toBe("67890");
  });

  it("stays taken where the job that has ended committed it", async () => {
    const one = await fresh();
    await putBy(await announced(one, "runs/a"), "12345");
    await one.ask("outputs/commit", { outputs: [{ key: "runs/a" }] });
    must(await one.job.cancel());
    const two = await fresh({}, one.dataset);
    expect(codeOf(await two.ask("outputs", { outputs: [{ key: "runs/a", size: 5 }] }))).toEqual([409, "output-taken"]);
    expect(await text(one.name, "runs/a")).toBe("12345");
  });

  it("is not told as removed, for it never was there", async () => {
    const at = await fresh();
    const claim = { name: at.name, kind: "files" as const, bucket: "DATASETS", prefix: `${at.name}/`, schedule: null };
    must(await directoryOf(env).claimDataset(claim, at.dataset.id));
    const put = await putBy(await announced(at, "runs/secret"), "12345");
    await handOver([notification(`${at.name}/runs/secret`, put?.etag ?? "")]);
    const graves = await runInDurableObject(datasetOf(env, at.name), (_, { storage }) =>
      storage.sql.exec("SELECT key FROM tombstone").toArray(),
    );
    expect(graves).toEqual([]);
  });
});

describe("limits and times", { timeout: 60_000 }, () => {
  it("count what is not committed: 5,000 committed outputs are no reason to refuse one more", async () => {
    const at = await fresh();
    const fixed = { size: 1, contentType: "x", sha256: null, partBytes: null };
    for (let thousand = 0; thousand < 5; thousand++) {
      const outputs = Array.from({ length: 1000 }, (_, index) => ({ key: `runs/${thousand}/${index}`, ...fixed }));
      const known = must(await at.job.announceOutputs(outputs, null));
      const found = known.map(({ key, generation }) => ({
        row: givenRow(key, { size: 1, etag: "e" }),
        ...{ generation, isCompleted: false },
      }));
      must(await at.job.commitOutputs(found));
    }
    expect(await at.job.announceOutputs([{ key: "runs/more", ...fixed }], null)).toMatchObject({ ok: true });
  });

  it("let no finish that took too long end the job for another that looks by then", async () => {
    const at = await fresh();
    must(await at.job.heartbeat("node-0"));
    const slow = must(await at.job.beginFinish("done"));
    pass(901_000);
    must(await at.job.heartbeat("node-0"));
    const put = await putBy(await announced(at, "runs/a"), "12345");
    const second = must(await at.job.beginFinish("done"));
    expect(await at.job.finish("done", [], slow.attempt)).toMatchObject({ failure: { code: "job-finishing" } });
    const found = foundAt("runs/a", put, at.spec.id);
    expect(await at.job.finish("done", [found], second.attempt)).toMatchObject({ ok: true });
    expect((await outputIn(at, "runs/a"))?.state).toBe("committed");
  });
});
