import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { retireOutputs } from "../../queues/manifest/retire.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { failure } from "../../workers/core/failure.ts";
import { OUTPUT_JOB } from "../../workers/core/jobs/job.ts";
import { retireMessage } from "../../workers/core/jobs/retire-message.ts";
import { fail, ok } from "../../workers/core/result.ts";
import { api, apiTokens, LIMITED, READER } from "./harness/api.ts";
import { failingBucket } from "./harness/failing-bucket.ts";
import { handOver, notification } from "./harness/notify.ts";
import { codeOf, freshJobs, heldStill, pass } from "./harness/output-jobs.ts";
import { deliverOutbox, foundAt, givenJob, outputIn, putBy, putParts, type SignedOutput } from "./harness/outputs.ts";
import { must } from "./harness/run.ts";
import { sealable } from "./harness/sealed.ts";
import { bytesOf, envWith, PART_BYTES } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens("elsewhere"));
});
heldStill();

const fresh = freshJobs("checkpoints", () => seen);
type At = Pick<Awaited<ReturnType<typeof fresh>>, "name" | "ask" | "announce" | "read" | "job">;

const keysOf = (name: string) => ["a", "b"].map((file) => `runs/${name}/${file}`);
/** Announces a checkpoint of two files and puts them. */
async function putCheckpoint(at: At, name: string): Promise<SignedOutput[]> {
  const outputs = await at.announce(
    keysOf(name).map((key) => ({ key, size: name.length })),
    { checkpoint: name },
  );
  for (const output of outputs) await putBy(output, name);
  return outputs;
}
async function committed(at: At, name: string) {
  await putCheckpoint(at, name);
  pass(1000);
  const done = await at.ask("outputs/commit", { checkpoint: name });
  expect(done.status).toBe(200);
  return done.body;
}
const latest = async (at: At) => {
  const { status, body } = await at.read("checkpoints/latest");
  return status === 200 ? body["name"] : body["code"];
};
const listed = async (at: At) => {
  const { body } = await at.read<{ checkpoints: { name: string; outputs: number; bytes: number }[] }>("checkpoints");
  return body.checkpoints.map(({ name }) => name);
};
const keysInR2 = async (at: At) => {
  const { objects } = await env.DATASETS.list({ prefix: `${at.name}/` });
  return objects.map(({ key }) => key.slice(at.name.length + 1));
};
const messageOf = (at: At) =>
  runInDurableObject(at.job, (_, { storage }) => {
    const [row] = storage.sql
      .exec<{ seq: number; body: string }>("SELECT seq, body FROM outbox WHERE type = 'retire'")
      .toArray();
    return retireMessage.parse({ ...(JSON.parse(row?.body ?? "{}") as object), seq: row?.seq });
  });

describe("a checkpoint", () => {
  it("is committed as a whole: all of its outputs, one message, and latest names it", async () => {
    const at = await fresh();
    await putCheckpoint(at, "step-1");
    expect([await latest(at), await listed(at)]).toEqual(["unknown-checkpoint", []]);
    expect(codeOf(await at.read("checkpoints/step-1"))).toEqual([404, "unknown-checkpoint"]);
    const done = await at.ask("outputs/commit", { checkpoint: "step-1" });
    expect(done.body).toMatchObject({
      outputs: keysOf("step-1").map((key) => ({ key, size: 6 })),
      checkpoint: { name: "step-1" },
    });
    await evictDurableObject(at.job);
    const again = await at.ask("outputs/commit", { checkpoint: "step-1" });
    expect([again.body["outputs"], again.body["checkpoint"]]).toEqual([done.body["outputs"], done.body["checkpoint"]]);
    expect((await deliverOutbox(at)).map(({ type }) => type)).toEqual(["rows"]);
    for (const key of keysOf("step-1")) expect(await rowAt(at.name, key)).toBeDefined();
    expect([await latest(at), await listed(at)]).toEqual(["step-1", ["step-1"]]);
  });

  it("is nothing while an output is missing: none is committed, none is seen, latest stays what it was", async () => {
    const at = await fresh();
    await committed(at, "step-1");
    const [a, b] = await at.announce(
      keysOf("step-2").map((key) => ({ key, size: 6 })),
      { checkpoint: "step-2" },
    );
    const put = await putBy(a ?? {}, "step-2");
    expect(codeOf(await at.ask("outputs/commit", { checkpoint: "step-2" }))).toEqual([409, "output-missing"]);
    await handOver([notification(`${at.name}/runs/step-2/a`, put?.etag ?? "")]);
    expect(await rowAt(at.name, "runs/step-2/a")).toBeUndefined();
    expect([await latest(at), await listed(at)]).toEqual(["step-1", ["step-1"]]);
    await putBy(b ?? {}, "step-2");
    expect((await at.ask("outputs/commit", { checkpoint: "step-2" })).status).toBe(200);
    expect([await latest(at), await listed(at)]).toEqual(["step-2", ["step-2", "step-1"]]);
  });

  it("takes outputs of several nodes until it is committed, and no more; one that comes in between is waited for", async () => {
    const at = await fresh();
    await putCheckpoint(at, "step-1");
    const meanwhile = await at.announce([{ key: "runs/step-1/c", size: 1 }], { checkpoint: "step-1" });
    const looked = keysOf("step-1").map(async (key) => {
      const object = await env.DATASETS.head(`${at.name}/${key}`);
      return foundAt(key, object, at.spec.id);
    });
    expect(await at.job.commitOutputs(await Promise.all(looked))).toMatchObject({
      ok: false,
      failure: { code: "output-missing" },
    });
    expect(await outputIn(at, "runs/step-1/a")).toMatchObject({ state: "announced" });
    await putBy(meanwhile[0] ?? {}, "x");
    expect((await at.ask("outputs/commit", { checkpoint: "step-1" })).status).toBe(200);
    const late = await at.ask("outputs", { outputs: [{ key: "runs/step-1/d", size: 1 }], checkpoint: "step-1" });
    expect(codeOf(late)).toEqual([409, "output-taken"]);
    expect(await outputIn(at, "runs/step-1/d")).toBeUndefined();
  });

  it("keeps its outputs together: one alone is not committed, nor by finish, nor for another", async () => {
    const at = await fresh();
    const [a] = await putCheckpoint(at, "step-1");
    const alone = [{ key: a?.key }];
    expect(codeOf(await at.ask("outputs/commit", { outputs: alone }))).toEqual([409, "output-in-checkpoint"]);
    expect(codeOf(await at.ask("finish", { outputs: [a?.key] }))).toEqual([409, "output-in-checkpoint"]);
    await putCheckpoint(at, "step-2");
    const other = await at.ask("outputs/commit", { checkpoint: "step-2", outputs: alone });
    expect(codeOf(other)).toEqual([409, "output-not-announced"]);
    expect(codeOf(await at.ask("outputs/commit", { checkpoint: "step-9" }))).toEqual([404, "unknown-checkpoint"]);
    expect(await listed(at)).toEqual([]);
  });

  it("is refused where more of it would be read for SHA-256 than one commit reads, however many requests announce it", async () => {
    const at = await fresh();
    const large = (n: number) => ({ key: `runs/s/${n}`, size: 20e9, sha256: "a".repeat(64) });
    await at.announce([large(1)], { checkpoint: "s" });
    const refused = await at.ask("outputs", { outputs: [large(2)], checkpoint: "s" });
    expect(codeOf(refused)).toEqual([400, "invalid-body"]);
    expect(await outputIn(at, "runs/s/2")).toBeUndefined();
  });

  it("may have outputs in parts beside others", async () => {
    const at = await fresh();
    const bytes = bytesOf(PART_BYTES + 1, 1);
    const [a, b] = await at.announce(
      [
        { key: "runs/s/large", size: bytes.length, multipart: true },
        { key: "runs/s/small", size: 1 },
      ],
      { checkpoint: "s" },
    );
    await putBy(b ?? {}, "x");
    if (a === undefined) throw new Error("It was not announced.");
    const parts = await putParts(at.name, a, bytes);
    const done = await at.ask("outputs/commit", { checkpoint: "s", outputs: [{ key: a.key, parts }] });
    expect(done).toMatchObject({ status: 200, body: { outputs: [{ key: a.key }, { key: "runs/s/small" }] } });
  });

  it("that is aborted frees its name and keys", async () => {
    const at = await fresh();
    await putCheckpoint(at, "step-1");
    expect((await at.ask("outputs/abort", { checkpoint: "step-1" })).body).toMatchObject({ aborted: keysOf("step-1") });
    expect(await keysInR2(at)).toEqual([]);
    await committed(at, "step-1");
    expect(codeOf(await at.ask("outputs/abort", { checkpoint: "step-1" }))).toEqual([409, "output-taken"]);
    expect(await latest(at)).toBe("step-1");
  });

  it("is committed by a finish that finds it whole, and left by one of a failed job that does not", async () => {
    const [done, failed] = [await fresh(), await fresh()];
    await putCheckpoint(done, "step-1");
    expect((await done.ask("finish", {})).body).toMatchObject({ state: "done", outputs: { committed: 2 } });
    expect(must(await done.job.checkpoints())).toMatchObject([{ name: "step-1", outputs: 2, bytes: 12 }]);
    const [a] = await failed.announce(
      keysOf("step-1").map((key) => ({ key, size: 6 })),
      { checkpoint: "step-1" },
    );
    await putBy(a ?? {}, "step-1");
    const body = { state: "failed", outputs: { announced: 2, committed: 0 } };
    expect((await failed.ask("finish", { outcome: "failed" })).body).toMatchObject(body);
  });
});

describe("GET /v1/jobs/:id/checkpoints", () => {
  it("has URLs that read what was committed and nothing later, for the job and for the read role, also after its end", async () => {
    const at = await fresh();
    await committed(at, "step-1");
    const etag = (await env.DATASETS.head(`${at.name}/runs/step-1/a`))?.etag;
    const expected = {
      name: "step-1",
      committedAt: new Date().toISOString(),
      outputs: keysOf("step-1").map((key) => ({
        key,
        size: 6,
        etag,
        sha256: null,
        headers: { "if-match": `"${etag}"` },
      })),
    };
    expect(await at.read("checkpoints/latest?expiresSeconds=60")).toMatchObject({ status: 200, body: expected });
    expect((await at.read("checkpoints/step-1")).body).toMatchObject(expected);
    await at.job.cancel();
    expect(codeOf(await at.read("checkpoints/latest"))).toEqual([409, "job-ended"]);
    const reader = (path: string, token = READER) => api(seen, `GET ${at.root}/${path}`, undefined, token);
    expect((await reader("checkpoints/latest")).body).toMatchObject(expected);
    expect((await reader("checkpoints")).body).toMatchObject({
      checkpoints: [{ name: "step-1", outputs: 2, bytes: 12 }],
    });
  });

  it("refuses another job's token, a token limited to other datasets, and jobs that are not there", async () => {
    const [at, other] = [await fresh(), await fresh()];
    const as = (token: string, root = at.root) => api(seen, `GET ${root}/checkpoints/latest`, undefined, token);
    expect(codeOf(await as(other.token))).toEqual([403, "out-of-scope"]);
    expect(codeOf(await as(LIMITED))).toEqual([403, "out-of-scope"]);
    expect(codeOf(await as("pst_nobody"))).toEqual([401, "invalid-token"]);
    expect(codeOf(await as(READER, "/v1/jobs/job_00000000000000000000000009"))).toEqual([404, "unknown-job"]);
    expect(codeOf(await as(READER, "/v1/jobs/nonsense"))).toEqual([404, "unknown-job"]);
    expect(codeOf(await as(READER))).toEqual([404, "unknown-checkpoint"]);
    expect(codeOf(await at.read("checkpoints?limit=3"))).toEqual([400, "invalid-query"]);
  });
});

describe("of a job that keeps the last n checkpoints", () => {
  const keep = (n: number) => ({ checkpoints: { keep: n } });

  it("older ones are gone from the list at once, then from R2 and the manifest; nothing else is", async () => {
    const at = await fresh(keep(2));
    await env.DATASETS.put(`${at.name}/beside`, "not ours");
    await putBy((await at.announce([{ key: "runs/model", size: 1 }]))[0] ?? {}, "x");
    await at.ask("outputs/commit", { outputs: [{ key: "runs/model" }] });
    for (const name of ["s1", "s2", "s3"]) await committed(at, name);
    expect(await listed(at)).toEqual(["s3", "s2"]);
    expect(codeOf(await at.read("checkpoints/s1"))).toEqual([404, "unknown-checkpoint"]);
    expect((await deliverOutbox(at)).map(({ type }) => type)).toEqual(["rows", "rows", "rows", "rows", "retire"]);
    const left = ["beside", "runs/model", ...keysOf("s2"), ...keysOf("s3")];
    expect(await keysInR2(at)).toEqual(left);
    for (const key of keysOf("s1")) {
      expect([await rowAt(at.name, key), await datasetOf(env, at.name).isBuried(key)]).toEqual([undefined, true]);
    }
    for (const key of left.slice(1)) expect(await rowAt(at.name, key), key).toBeDefined();
    // A name is used once, and what an old URL puts late is nobody's output.
    const again = { outputs: [{ key: "runs/s1/c", size: 1 }], checkpoint: "s1" };
    expect(codeOf(await at.ask("outputs", again))).toEqual([409, "output-taken"]);
    const late = await env.DATASETS.put(`${at.name}/runs/s1/a`, "s1", {
      customMetadata: { "penstock-job": at.spec.id },
    });
    await handOver([notification(`${at.name}/runs/s1/a`, late.etag)]);
    expect(await rowAt(at.name, "runs/s1/a")).toBeUndefined();
    expect(must(await at.job.status()).outputs).toEqual({ announced: 5, committed: 5 });
  });

  it("what a sealed version holds stays, and is an object like any other; so is what somebody has changed", async () => {
    const dataset = await sealable();
    const at = { name: dataset.name, ...(await givenJob(dataset.name, keep(1), seen)) };
    await committed(at, "s1");
    await deliverOutbox(at);
    await dataset.seal();
    await committed(at, "s2");
    await env.DATASETS.put(`${at.name}/runs/s2/a`, "a stranger's");
    // With the job's own mark, as a tool leaves it that edits an object.
    await env.DATASETS.put(`${at.name}/runs/s2/b`, "edited", { customMetadata: { [OUTPUT_JOB]: at.spec.id } });
    await committed(at, "s3");
    await deliverOutbox(at);
    expect(await keysInR2(at)).toEqual([...keysOf("s1"), ...keysOf("s2"), ...keysOf("s3")]);
    expect(await outputIn(at, "runs/s1/a")).toMatchObject({ state: "kept" });
    expect(await rowAt(at.name, "runs/s1/a")).toBeDefined();
    expect(await listed(at)).toEqual(["s3"]);
    // Versions may be sealed again.
    expect(await dataset.seal()).toMatchObject({ state: "sealed" });
  });

  it("no version begins between the delete and the manifest's word of it; a consumer that was killed there is made good", async () => {
    const at = await fresh(keep(1));
    await committed(at, "s1");
    await deliverOutbox(at);
    await committed(at, "s2");
    const message = await messageOf(at);
    const dataset = datasetOf(env, at.name);
    const getByName = () =>
      new Proxy(dataset, {
        get: (target, property) =>
          property === "hint" ? () => Promise.reject(new Error("killed")) : (Reflect.get(target, property) as unknown),
      });
    const killed = { ...env, DATASET: { getByName } as unknown as Env["DATASET"] };
    await expect(retireOutputs(message, killed)).rejects.toThrow("killed");
    const refused = await dataset.seal(`ds_${at.name}`, { note: "", aliases: [] });
    expect(refused).toMatchObject({ ok: false, failure: { code: "version-sealing" } });
    await evictDurableObject(at.job);
    await deliverOutbox(at);
    expect(await rowAt(at.name, "runs/s1/a")).toBeUndefined();
    expect((await dataset.seal(`ds_${at.name}`, { note: "", aliases: [] })).ok).toBe(true);
  });

  it("a delete that fails is done again, by the message or, where that is lost, by the alarm", async () => {
    const at = await fresh(keep(1));
    await committed(at, "s1");
    await committed(at, "s2");
    const message = await messageOf(at);
    const failing = failingBucket(env.DATASETS, (method) => (method === "delete" ? "unanswered" : null));
    const sent = { ...message, items: message.items.map(({ key, etag, generation }) => [key, etag, generation]) };
    expect(await handOver([sent], { ...env, DATASETS: failing.bucket })).toEqual(["retry"]);
    expect((await outputIn(at, "runs/s1/a"))?.state).toBe("deleting");
    await at.job.cancel();
    pass(1_300_000);
    await evictDurableObject(at.job);
    await runDurableObjectAlarm(at.job);
    const sends = await runInDurableObject(at.job, (_, { storage }) =>
      storage.sql.exec<{ sends: number }>("SELECT sends FROM outbox WHERE type = 'retire'").one(),
    );
    expect(sends).toEqual({ sends: 2 });
    await deliverOutbox(at);
    expect((await outputIn(at, "runs/s1/a"))?.state).toBe("deleted");
    expect(await keysInR2(at)).toEqual(keysOf("s2"));
  });

  it("nothing is deleted while it cannot be told what versions hold; keys that are too many at once are asked one by one", async () => {
    const at = await fresh(keep(1));
    await committed(at, "s1");
    await committed(at, "s2");
    const message = await messageOf(at);
    const away = async () => fail(failure("store-unavailable"));
    expect(await retireOutputs(message, env, away)).toMatchObject({ kind: "retry" });
    expect(await keysInR2(at)).toHaveLength(4);
    const asked: number[] = [];
    await retireOutputs(message, env, async (_, objects) => {
      asked.push(objects.length);
      return objects.length > 1 || objects[0]?.key === "runs/s1/b" ? fail(failure("too-many-keys")) : ok(new Set());
    });
    expect(asked).toEqual([2, 1, 1]);
    expect(await keysInR2(at)).toEqual(["runs/s1/b", ...keysOf("s2")]);
  });
});
