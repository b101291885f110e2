import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { datasetOf, jobOf } from "../../workers/adapters/objects.ts";
import { OUTPUT_JOB } from "../../workers/core/jobs/job.ts";
import { OUTPUT_GENERATION } from "../../workers/core/jobs/output-mark.ts";
import { api, apiTokens } from "./harness/api.ts";
import { failingBucket } from "./harness/failing-bucket.ts";
import { handOver, notification } from "./harness/notify.ts";
import { codeOf, first, freshJobs, heldStill, pass } from "./harness/output-jobs.ts";
import {
  deliverOutbox,
  foundAt,
  givenJob,
  outputIn,
  putBy,
  putParts,
  type SignedOutput,
  uploadOf,
} from "./harness/outputs.ts";
import { must } from "./harness/run.ts";
import { sealable } from "./harness/sealed.ts";
import { bytesOf, envWith, PART_BYTES } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";
import { notingUploads, replacing, stillOpen, withUploadMethod } from "./harness/uploads.ts";
import { carryWalk } from "./harness/walk.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});
heldStill();
const sha256 = async (bytes: Uint8Array<ArrayBuffer>) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();

const fresh = freshJobs("outputs", () => seen);
type Fresh = Awaited<ReturnType<typeof fresh>>;
const commit = ({ ask }: Fresh, ...outputs: object[]) => ask("outputs/commit", { outputs });
const large = bytesOf(2 * PART_BYTES + 100, 7);
const LARGE = { key: "runs/large", size: large.length, multipart: true };
const small = { key: "runs/small", size: 5, contentType: "text/plain" };
const inR2 = async (name: string, key: string) => (await env.DATASETS.head(`${name}/${key}`)) !== null;

describe("POST /v1/jobs/:id/outputs", () => {
  it("signs a PUT of this length and type that writes once and names the job; the same again is a fresh URL", async () => {
    const at = await fresh();
    const answered = await at.ask("outputs", { outputs: [small], expiresSeconds: 100 });
    const headers = {
      "content-length": "5",
      "content-type": "text/plain",
      "if-none-match": "*",
      [`x-amz-meta-${OUTPUT_JOB}`]: at.spec.id,
      [`x-amz-meta-${OUTPUT_GENERATION}`]: "1",
    };
    expect(answered).toMatchObject({
      status: 200,
      body: { outputs: [{ key: "runs/small", size: 5, upload: "put", headers }] },
    });
    const { expiresAt, refreshAfter, serverTime } = answered.body as Record<string, string>;
    const seconds = (text = "") => (Date.parse(text) - Date.parse(serverTime ?? "")) / 1000;
    expect([seconds(expiresAt), seconds(refreshAfter)]).toEqual([100, 75]);
    expect(await at.announce([small])).toMatchObject([{ headers }]);
    expect(must(await at.job.status()).outputs).toEqual({ announced: 1, committed: 0 });
  });

  it("opens one upload for what goes in parts, and signs each part with its size", async () => {
    const at = await fresh();
    const output = first(await at.announce([LARGE]));
    expect(output).toMatchObject({ upload: "multipart", partSize: PART_BYTES, partCount: 3 });
    expect(output.parts?.map(({ number, size, headers }) => [number, size, headers])).toEqual([
      [1, PART_BYTES, { "content-length": String(PART_BYTES) }],
      [2, PART_BYTES, { "content-length": String(PART_BYTES) }],
      [3, 100, { "content-length": "100" }],
    ]);
    expect(new URL(output.parts?.[2]?.url ?? "").searchParams.get("partNumber")).toBe("3");
    expect(uploadOf(first(await at.announce([LARGE])))).toBe(uploadOf(output));
    const more = await at.ask<{ parts: SignedOutput["parts"] }>("outputs/parts", { key: LARGE.key, parts: [3, 1] });
    expect(more.body).toMatchObject({ partCount: 3, parts: [{ number: 3, size: 100 }, { number: 1 }] });
    expect(uploadOf({ ...output, parts: more.body.parts ?? [] })).toBe(uploadOf(output));
  });

  it("has one upload where two ask at once, and the other is aborted", async () => {
    const at = await fresh();
    const { bucket, created } = notingUploads();
    const racing = { ...seen, DATASETS: bucket };
    const both = await Promise.all([at.announce([LARGE], {}, racing), at.announce([LARGE], {}, racing)]);
    expect(created).toHaveLength(2);
    const ids = both.map((answer) => uploadOf(first(answer)));
    expect(ids[0]).toBe(ids[1]);
    await runDurableObjectAlarm(at.job);
    expect(await stillOpen(created)).toEqual([{ key: `${at.name}/runs/large`, uploadId: ids[0] }]);
  });

  it.each([
    ["outside the job's prefix", { outputs: [{ ...small, key: "other/x" }] }, 403, "out-of-scope", "outputs.0.key"],
    ["by the prefix's own name", { outputs: [{ ...small, key: "runs" }] }, 403, "out-of-scope", "outputs.0.key"],
    ["twice", { outputs: [small, small] }, 400, "invalid-body", "outputs.1.key"],
    ["small, in parts", { outputs: [{ ...small, multipart: true }] }, 400, "invalid-body", "outputs.0.multipart"],
    [
      "too large for one piece",
      { outputs: [{ ...small, size: 5e12, multipart: false }] },
      400,
      "invalid-body",
      "outputs.0.multipart",
    ],
    [
      "too large to be hashed",
      { outputs: [{ ...small, size: 4e10, sha256: "a".repeat(64) }] },
      400,
      "invalid-body",
      "outputs.0.sha256",
    ],
    [
      "with a sum that is none",
      { outputs: [{ ...small, sha256: "A".repeat(64) }] },
      400,
      "invalid-body",
      "outputs.0.sha256",
    ],
    ["for a checkpoint named latest", { outputs: [small], checkpoint: "latest" }, 400, "invalid-body", "checkpoint"],
    ["with an unknown field", { outputs: [{ ...small, foo: 1 }] }, 400, "invalid-body", "outputs.0.foo"],
    ["not at all", { outputs: [] }, 400, "invalid-body", "outputs"],
  ])("refuses an output that is named %s, and changes nothing", async (_, body, status, code, field) => {
    const at = await fresh();
    const answered = await at.ask("outputs", body);
    expect([answered.status, answered.body["code"], answered.body["field"]]).toEqual([status, code, field]);
    expect(must(await at.job.status()).outputs).toEqual({ announced: 0, committed: 0 });
  });

  it("refuses a key that is in use, announced otherwise, or committed", async () => {
    const at = await fresh();
    await env.DATASETS.put(`${at.name}/runs/theirs`, "x");
    await at.announce([small]);
    const signed = first(await at.announce([{ ...small, key: "runs/done" }]));
    await putBy(signed, "12345");
    expect((await commit(at, { key: "runs/done" })).status).toBe(200);
    for (const output of [
      { ...small, key: "runs/theirs" },
      { ...small, size: 6 },
      { ...small, contentType: "text/html" },
      { ...small, sha256: "a".repeat(64) },
      { ...small, key: "runs/done" },
    ]) {
      expect(codeOf(await at.ask("outputs", { outputs: [{ ...small, key: "runs/beside" }, output] }))).toEqual([
        409,
        "output-taken",
      ]);
    }
    expect(await outputIn(at, "runs/beside")).toBeUndefined();
  });

  it("is for the job's own token: another job's is refused", async () => {
    const [at, other] = [await fresh(), await fresh()];
    const { ask } = await givenJob(other.name, {}, seen);
    expect((await ask("outputs", { outputs: [small] })).status).toBe(200);
    const foreign = await api(seen, `POST ${at.root}/outputs`, { outputs: [small] }, other.token);
    expect(codeOf(foreign)).toEqual([403, "out-of-scope"]);
  });

  it("that was created by a request that died is made anew by the next", async () => {
    const at = await fresh();
    const refused = failingBucket(env.DATASETS, (method) => (method === "createMultipartUpload" ? "unanswered" : null));
    const died = await at.ask("outputs", { outputs: [LARGE] }, { ...seen, DATASETS: refused.bucket });
    expect(died.status).toBe(503);
    await evictDurableObject(at.job);
    const output = first(await at.announce([LARGE]));
    const parts = await putParts(at.name, output, large);
    expect((await commit(at, { key: LARGE.key, parts })).status).toBe(200);
  });
});

describe("POST /v1/jobs/:id/outputs/commit", () => {
  it("tells the manifest of an output once, with the SHA-256 that was proved, and again with the same answer", async () => {
    const at = await fresh();
    const bytes = bytesOf(1000, 3);
    const output = { key: "runs/a", size: 1000, sha256: await sha256(bytes) };
    await putBy(first(await at.announce([output])), bytes);
    const done = await commit(at, { key: "runs/a" });
    const etag = (await env.DATASETS.head(`${at.name}/runs/a`))?.etag;
    expect(done).toMatchObject({ status: 200, body: { outputs: [{ ...output, etag }], checkpoint: null } });
    await evictDurableObject(at.job);
    const away = replacing(env.DATASETS, { head: () => Promise.reject(new Error("asked")) });
    const again = await at.ask("outputs/commit", { outputs: [{ key: "runs/a" }] }, { ...seen, DATASETS: away });
    expect(again.body["outputs"]).toEqual(done.body["outputs"]);
    expect(await deliverOutbox(at)).toHaveLength(1);
    expect(await rowAt(at.name, "runs/a")).toMatchObject({
      etag,
      size: 1000,
      sha256: output.sha256,
      writer: at.spec.id,
    });
    expect(must(await at.job.status()).outputs).toEqual({ announced: 1, committed: 1 });
  });

  it("of two who look at the same time, the one who comes second changes nothing", async () => {
    const at = await fresh();
    const put = await putBy(first(await at.announce([small])), "12345");
    const found = foundAt(small.key, put, at.spec.id);
    expect(await at.job.commitOutputs([found])).toEqual({ ok: true, value: null });
    const before = { ...found, row: { ...found.row, etag: "of a look before" } };
    expect(await at.job.commitOutputs([before])).toEqual({ ok: true, value: null });
    expect((await commit(at, { key: small.key })).body).toMatchObject({ outputs: [{ etag: put?.etag }] });
    expect(await deliverOutbox(at)).toHaveLength(1);
  });

  it("refuses what is not there, is of another size or sum, or another's; and changes nothing", async () => {
    const at = await fresh();
    const [never, short, wrong, theirs] = await at.announce([
      { key: "runs/never", size: 1 },
      { key: "runs/short", size: 5 },
      { key: "runs/wrong", size: 5, sha256: "0".repeat(64) },
      { key: "runs/theirs", size: 5 },
    ]);
    await putBy(short ?? {}, "1234");
    await putBy(wrong ?? {}, "12345");
    await env.DATASETS.put(`${at.name}/runs/theirs`, "12345");
    expect(codeOf(await commit(at, { key: never?.key }))).toEqual([409, "output-missing"]);
    for (const { key } of [short, wrong, theirs].flatMap((each) => each ?? [])) {
      expect(codeOf(await commit(at, { key })), key).toEqual([409, "output-mismatch"]);
    }
    expect(codeOf(await commit(at, { key: "runs/unknown" }))).toEqual([409, "output-not-announced"]);
    expect(codeOf(await commit(at, { key: "runs/short", parts: [{ number: 1, etag: "x" }] }))).toEqual([
      409,
      "output-parts",
    ]);
    expect(must(await at.job.status()).outputs).toEqual({ announced: 4, committed: 0 });
    expect(await deliverOutbox(at)).toEqual([]);
    expect(await inR2(at.name, "runs/wrong")).toBe(true);
  });

  it("puts an output together from all of its parts, and from no others", async () => {
    const at = await fresh();
    const parts = await putParts(at.name, first(await at.announce([LARGE])), large);
    const [a, b, c] = parts;
    const bad = [
      [a, b],
      [a, b, b],
      [a, b, c, { number: 4, etag: "x" }],
      [a, b, { number: 3, etag: "0".repeat(32) }],
    ];
    for (const some of bad) {
      expect(codeOf(await commit(at, { key: LARGE.key, parts: some }))).toEqual([409, "output-parts"]);
    }
    expect(codeOf(await commit(at, { key: LARGE.key }))).toEqual([409, "output-missing"]);
    expect((await commit(at, { key: LARGE.key, parts: parts.toReversed() })).body).toMatchObject({
      outputs: [{ key: LARGE.key, size: large.length }],
    });
    const stored = await env.DATASETS.get(`${at.name}/runs/large`);
    expect(await sha256(new Uint8Array((await stored?.arrayBuffer()) ?? new ArrayBuffer(0)))).toBe(await sha256(large));
    expect(codeOf(await at.ask("outputs/parts", { key: LARGE.key, parts: [1] }))).toEqual([
      409,
      "output-not-announced",
    ]);
  });

  it("finds what it completed where the answer was lost, or it was killed before the job knew", async () => {
    const at = await fresh();
    const parts = await putParts(at.name, first(await at.announce([LARGE])), large);
    let times = 0;
    const bucket = withUploadMethod(env.DATASETS, "complete", async (upload, ...args) => {
      const object = await upload.complete(...args);
      // After this the request is as good as dead: it does not come to look either.
      times += 1;
      if (times === 1) throw new Error("Network connection lost.");
      return object;
    });
    const head = (key: string) => (times === 0 ? env.DATASETS.head(key) : Promise.reject(new Error("(10001)")));
    const blind = replacing(bucket, { head });
    const lost = await at.ask("outputs/commit", { outputs: [{ key: LARGE.key, parts }] }, { ...seen, DATASETS: blind });
    expect(lost.status).toBe(503);
    expect(await outputIn(at, LARGE.key)).toMatchObject({ state: "announced" });
    // Nobody sees it: it is whole, and not committed.
    const there = await env.DATASETS.head(`${at.name}/runs/large`);
    await handOver([notification(`${at.name}/runs/large`, there?.etag ?? "")]);
    expect(await rowAt(at.name, LARGE.key)).toBeUndefined();
    await evictDurableObject(at.job);
    expect(await commit(at, { key: LARGE.key, parts })).toMatchObject({
      status: 200,
      body: { outputs: [{ etag: there?.etag }] },
    });
  });

  it("does not write over what somebody else has put meanwhile", async () => {
    const at = await fresh();
    const parts = await putParts(at.name, first(await at.announce([LARGE])), large);
    await env.DATASETS.put(`${at.name}/runs/large`, "a stranger's");
    expect(codeOf(await commit(at, { key: LARGE.key, parts }))).toEqual([409, "output-taken"]);
    expect(await (await env.DATASETS.get(`${at.name}/runs/large`))?.text()).toBe("a stranger's");
  });
});

describe("an output that is not committed", () => {
  it("is no row by a notification, nor by a walk; once it is committed it is exactly one", async () => {
    const at = await fresh();
    const put = await putBy(first(await at.announce([small])), "12345");
    const told = notification(`${at.name}/runs/small`, put?.etag ?? "");
    const walk = async () => {
      must(await datasetOf(env, at.name).beginWalk(false));
      await carryWalk(at.name, env);
    };
    expect(await handOver([told])).toEqual(["ack"]);
    await walk();
    expect(await rowAt(at.name, "runs/small")).toBeUndefined();
    await commit(at, { key: "runs/small" });
    await deliverOutbox(at);
    await handOver([told, told]);
    await walk();
    expect(await rowAt(at.name, "runs/small")).toMatchObject({ etag: put?.etag, writer: at.spec.id });
    expect(must(await datasetOf(env, at.name).describe()).summary.objects).toBe(1);
  });

  it("stays out of the manifest after the job's end, and of versions", async () => {
    const dataset = await sealable();
    const at = { name: dataset.name, ...(await givenJob(dataset.name, {}, seen)) };
    const put = await putBy(first(await at.announce([small])), "12345");
    await at.job.cancel();
    const { questions } = must(await dataset.stub.hint(dataset.id, [{ key: "runs/small", etag: put?.etag ?? "" }]));
    expect(questions).toHaveLength(1);
    must(await dataset.stub.beginWalk(false));
    await carryWalk(at.name, env);
    expect(await rowAt(at.name, "runs/small")).toBeUndefined();
    expect(await dataset.seal()).toMatchObject({ objects: 0 });
  });

  it("is hidden by its own job alone: an unknown job's, another dataset's, and what was never announced are objects", async () => {
    const [at, other] = [await fresh(), await fresh()];
    await at.announce([small]);
    const mark = (id: string) => ({ customMetadata: { [OUTPUT_JOB]: id } });
    const told = async (key: string, id: string) => {
      const put = await env.DATASETS.put(key, "12345", mark(id));
      return notification(key, put.etag);
    };
    const messages = [
      await told(`${at.name}/runs/not-announced`, at.spec.id),
      await told(`${at.name}/runs/unknown`, "job_00000000000000000000000000"),
      await told(`${at.name}/runs/odd`, "no job's name"),
      await told(`${other.name}/runs/small`, at.spec.id),
    ];
    expect(await handOver(messages)).toEqual(messages.map(() => "ack"));
    for (const key of ["runs/not-announced", "runs/unknown", "runs/odd"]) {
      expect(await rowAt(at.name, key), key).toBeDefined();
    }
    expect(await rowAt(other.name, "runs/small")).toBeDefined();
  });

  it("makes the message come again where its job cannot be asked", async () => {
    const at = await fresh();
    const put = await putBy(first(await at.announce([small])), "12345");
    const getByName = () => ({ uncommittedAmong: () => Promise.reject(new Error("The object was reset.")) });
    const away = { ...env, GPU_JOB: { getByName } as unknown as Env["GPU_JOB"] };
    expect(await handOver([notification(`${at.name}/runs/small`, put?.etag ?? "")], away)).toEqual(["retry"]);
    expect(await rowAt(at.name, "runs/small")).toBeUndefined();
  });
});

describe("POST /v1/jobs/:id/outputs/abort", () => {
  it("forgets outputs, aborts their uploads and deletes what was put; the keys may be announced otherwise", async () => {
    const at = await fresh();
    const [put, parts] = await at.announce([small, LARGE]);
    await putBy(put ?? {}, "12345");
    const upload = { key: `${at.name}/runs/large`, uploadId: uploadOf(parts ?? first([])) };
    const keys = [small.key, LARGE.key];
    expect((await at.ask("outputs/abort", { keys })).body).toMatchObject({ aborted: keys });
    expect(await inR2(at.name, small.key)).toBe(false);
    expect(await stillOpen([upload])).toEqual([]);
    expect((await at.ask("outputs/abort", { keys })).status).toBe(200);
    expect(codeOf(await commit(at, { key: small.key }))).toEqual([409, "output-not-announced"]);
    expect(await at.announce([{ ...small, size: 7 }])).toMatchObject([{ size: 7 }]);
    // What an old URL puts late is nobody's output.
    expect(must(await at.job.status()).outputs).toEqual({ announced: 1, committed: 0 });
  });

  it("deletes nothing that is committed, or another's", async () => {
    const at = await fresh();
    const [done] = await at.announce([small, { key: "runs/theirs", size: 1 }]);
    await putBy(done ?? {}, "12345");
    await commit(at, { key: small.key });
    await env.DATASETS.put(`${at.name}/runs/theirs`, "x");
    expect(codeOf(await at.ask("outputs/abort", { keys: ["runs/theirs", small.key] }))).toEqual([409, "output-taken"]);
    expect(codeOf(await at.ask("outputs/abort", { keys: ["runs/theirs", "runs/?"] }))).toEqual([
      409,
      "output-not-announced",
    ]);
    expect((await at.ask("outputs/abort", { keys: ["runs/theirs"] })).status).toBe(200);
    expect([await inR2(at.name, small.key), await inR2(at.name, "runs/theirs")]).toEqual([true, true]);
  });

  it("leaves what an old URL puts afterwards out of the manifest", async () => {
    const at = await fresh();
    const signed = first(await at.announce([small]));
    await at.ask("outputs/abort", { keys: [small.key] });
    const put = await putBy(signed, "12345");
    await handOver([notification(`${at.name}/runs/small`, put?.etag ?? "")]);
    expect(await rowAt(at.name, small.key)).toBeUndefined();
    expect(codeOf(await at.ask("outputs", { outputs: [small] }))).toEqual([409, "output-taken"]);
    await at.ask("outputs/abort", { keys: [small.key] });
    expect(await at.announce([small])).toHaveLength(1);
  });

  it("is done by the alarm where R2 fails, again and again until it is done", async () => {
    const at = await fresh();
    await putBy(first(await at.announce([small])), "12345");
    await runInDurableObject(at.job, async (object, { storage }) => {
      const failing = failingBucket(env.DATASETS, () => "refused").bucket;
      const inner = object as unknown as { env: Env };
      inner.env = { ...inner.env, DATASETS: failing };
      must(await object.abortOutputs([small.key], null));
      expect(storage.sql.exec("SELECT tries FROM cleanup").toArray()).toEqual([{ tries: 1 }]);
      await object.alarm();
      inner.env = env;
    });
    expect(await inR2(at.name, small.key)).toBe(true);
    expect(codeOf(await at.ask("outputs", { outputs: [small] }))).toEqual([503, "store-unavailable"]);
    await evictDurableObject(at.job);
    pass(10_000);
    await runDurableObjectAlarm(at.job);
    expect([await inR2(at.name, small.key), await outputIn(at, small.key)]).toMatchObject([
      false,
      { state: "aborted" },
    ]);
  });
});

describe("when a job ends", () => {
  const ends: Record<string, (at: Fresh) => Promise<unknown>> = {
    cancelled: ({ job }) => job.cancel(),
    done: ({ ask }) => ask("finish", { outputs: [] }),
    failed: ({ ask }) => ask("finish", { outcome: "failed", outputs: [] }),
    lost: async () => pass(700_000),
    expired: async () => pass(3_700_000),
  };
  it.each(Object.keys(ends))(
    "%s, its uploads are aborted, and those that come late; what was put stays, unseen",
    async (state) => {
      const at = await fresh({ lostAfterSeconds: state === "lost" ? 600 : 86_400 });
      await at.ask("heartbeat", { node: "node-0" });
      const [parts, put] = await at.announce([LARGE, small]);
      await putBy(put ?? {}, "12345");
      const upload = { key: `${at.name}/runs/large`, uploadId: uploadOf(parts ?? first([])) };
      await ends[state]?.(at);
      await evictDurableObject(at.job);
      await runDurableObjectAlarm(at.job);
      expect(must(await at.job.status()).state).toBe(state);
      const late = await env.DATASETS.createMultipartUpload(upload.key);
      expect(await at.job.recordUpload(LARGE.key, 1, late.uploadId)).toMatchObject({ ok: false });
      await runDurableObjectAlarm(at.job);
      expect(await stillOpen([upload, { key: upload.key, uploadId: late.uploadId }])).toEqual([]);
      expect(await inR2(at.name, small.key)).toBe(true);
      expect(await runDurableObjectAlarm(at.job)).toBe(false);
    },
  );
});

describe("POST /v1/jobs/:id/finish", () => {
  it("commits what is announced and whole, once", async () => {
    const at = await fresh();
    await putBy(first(await at.announce([small])), "12345");
    const done = await at.ask("finish", {});
    expect(done.body).toMatchObject({ state: "done", outputs: { announced: 1, committed: 1 } });
    expect((await at.ask("finish", {})).body).toEqual(done.body);
    expect(await deliverOutbox(at)).toHaveLength(1);
    expect(await rowAt(at.name, small.key)).toMatchObject({ writer: at.spec.id });
  });

  it("that is refused lets the job go on; a request that died before it does not, until the same is asked again", async () => {
    const at = await fresh();
    const signed = first(await at.announce([small]));
    expect(codeOf(await at.ask("finish", {}))).toEqual([409, "output-missing"]);
    expect(must(await at.job.status()).state).toBe("running");
    must(await at.job.beginFinish("done"));
    expect(must(await at.job.status()).state).toBe("finishing");
    expect((await at.ask("heartbeat", { node: "node-0" })).body).toMatchObject({ state: "finishing" });
    await putBy(signed, "12345");
    expect((await at.ask("finish", {})).body).toMatchObject({ state: "done" });
  });

  it("that is refused does not take another finish's state away; one that died counts no more after a while", async () => {
    const at = await fresh();
    const [a, b] = [must(await at.job.beginFinish("done")), must(await at.job.beginFinish("done"))];
    expect(must(await at.job.goOn(b.attempt))).toBe("finishing");
    await evictDurableObject(at.job);
    expect(must(await at.job.goOn(a.attempt))).toBe("running");
    must(await at.job.beginFinish("done"));
    pass(900_001);
    const last = must(await at.job.beginFinish("done"));
    expect(must(await at.job.goOn(last.attempt))).toBe("running");
  });

  it("asked twice at once is done once, and both are told so", async () => {
    const at = await fresh();
    await putBy(first(await at.announce([small])), "12345");
    const both = await Promise.all([at.ask("finish", {}), at.ask("finish", {})]);
    expect(both.map(({ status, body }) => [status, body["state"]])).toEqual([
      [200, "done"],
      [200, "done"],
    ]);
    expect(await deliverOutbox(at)).toHaveLength(1);
  });

  it("takes what was announced by urls as it ever did, and leaves nothing of a job that is not there", async () => {
    const at = await fresh();
    const { body } = await at.ask<{ urls: { url: string; headers: Record<string, string> }[] }>("urls", {
      method: "PUT",
      objects: [small],
    });
    await putBy(first(body.urls), "12345");
    expect((await at.ask("finish", { outputs: [small.key] })).body).toMatchObject({
      state: "done",
      outputs: { committed: 1 },
    });
    expect(
      await jobOf(env, "job_00000000000000000000000001").uncommittedAmong("ds", [{ key: "x", etag: "y" }]),
    ).toEqual([]);
  });
});
