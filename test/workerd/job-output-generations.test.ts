import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { apiTokens } from "./harness/api.ts";
import { codeOf, first, freshJobs, heldStill, text } from "./harness/output-jobs.ts";
import { deliverOutbox, foundAt, outputIn, putBy, putParts, uploadOf } from "./harness/outputs.ts";
import { must } from "./harness/run.ts";
import { bytesOf, envWith, PART_BYTES } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";
import { replacing, stillOpen } from "./harness/uploads.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});
heldStill();

const fresh = freshJobs("generations", () => seen);

const small = { key: "runs/a", size: 5 };
type Fresh = Awaited<ReturnType<typeof fresh>>;

/** An environment whose first look at the key is followed by `meanwhile`, before anybody knows what it saw. */
function afterFirstLook(meanwhile: () => Promise<unknown>): Env {
  let isFirst = true;
  const head = async (key: string) => {
    const there = await env.DATASETS.head(key);
    if (isFirst) {
      isFirst = false;
      await meanwhile();
    }
    return there;
  };
  return { ...seen, DATASETS: replacing(env.DATASETS, { head }) };
}

describe("a key that was aborted and announced anew", () => {
  const anew = (at: Fresh) => async () => {
    expect((await at.ask("outputs/abort", { keys: [small.key] })).status).toBe(200);
    await at.announce([small]);
  };

  it("is not committed by who has looked before that", async () => {
    const at = await fresh();
    await putBy(first(await at.announce([small])), "12345");
    const body = { outputs: [{ key: small.key }] };
    const answered = await at.ask("outputs/commit", body, afterFirstLook(anew(at)));
    expect(codeOf(answered)).toEqual([409, "output-not-announced"]);
    await deliverOutbox(at);
    expect([await text(at.name, small.key), await rowAt(at.name, small.key)]).toEqual([undefined, undefined]);
  });

  it("is not committed by a finish that has looked before that, nor is what was only aborted", async () => {
    const at = await fresh();
    const put = await putBy(first(await at.announce([small])), "12345");
    const before = foundAt(small.key, put, at.spec.id);
    const abort = () => at.ask("outputs/abort", { keys: [small.key] });
    const refused = await at.ask("finish", { outputs: [small.key] }, afterFirstLook(abort));
    expect(codeOf(refused)).toEqual([409, "output-not-announced"]);
    expect(must(await at.job.status()).state).toBe("running");
    await at.announce([small]);
    const { attempt } = must(await at.job.beginFinish("done"));
    expect(await at.job.finish("done", [before], attempt)).toMatchObject({ failure: { code: "output-not-announced" } });
    expect((await outputIn(at, small.key))?.state).toBe("announced");
  });

  it("is not what a URL of before puts late; an abort takes that away, and the key is free", async () => {
    const at = await fresh();
    const old = first(await at.announce([small]));
    await at.ask("outputs/abort", { keys: [small.key] });
    const now = first(await at.announce([small]));
    await putBy(old, "old--");
    expect(await putBy(now, "new--")).toBeNull();
    const refused = await at.ask("outputs/commit", { outputs: [{ key: small.key }] });
    expect(codeOf(refused)).toEqual([409, "output-mismatch"]);
    expect((await at.ask("outputs/abort", { keys: [small.key] })).status).toBe(200);
    await putBy(first(await at.announce([small])), "new--");
    expect((await at.ask("outputs/commit", { outputs: [{ key: small.key }] })).status).toBe(200);
    expect(await text(at.name, small.key)).toBe("new--");
  });

  it("in parts is not what a URL of before puts late, and its upload is aborted with the job", async () => {
    const at = await fresh();
    const bytes = bytesOf(PART_BYTES + 100, 3);
    const plain = first(await at.announce([{ key: "runs/x", size: bytes.length }]));
    await at.ask("outputs/abort", { keys: ["runs/x"] });
    const multi = first(await at.announce([{ key: "runs/x", size: bytes.length, multipart: true }]));
    const parts = await putParts(at.name, multi, bytes);
    await putBy(plain, bytesOf(PART_BYTES + 100, 9));
    const answered = await at.ask("outputs/commit", { outputs: [{ key: "runs/x", parts }] });
    expect(codeOf(answered)).toEqual([409, "output-mismatch"]);
    await at.job.cancel();
    await runDurableObjectAlarm(at.job);
    expect(await stillOpen([{ key: `${at.name}/runs/x`, uploadId: uploadOf(multi) }])).toEqual([]);
  });

  it("has no upload that a slow request has opened for the announcement before", async () => {
    const at = await fresh();
    const size = PART_BYTES + 10;
    const asked = (contentType: string) => ({ key: "runs/x", size, contentType, multipart: true });
    let isFirst = true;
    const createMultipartUpload = async (key: string, options?: R2MultipartOptions) => {
      const made = await env.DATASETS.createMultipartUpload(key, options);
      if (isFirst) {
        isFirst = false;
        await at.ask("outputs/abort", { keys: ["runs/x"] });
        const { multipart: _, ...output } = asked("application/new");
        must(await at.job.announceOutputs([{ ...output, sha256: null, partBytes: PART_BYTES }], null));
      }
      return made;
    };
    const racing = { ...seen, DATASETS: replacing(env.DATASETS, { createMultipartUpload }) };
    const late = await at.ask("outputs", { outputs: [asked("application/old")] }, racing);
    expect(codeOf(late)).toEqual([409, "output-not-announced"]);
    const multi = first(await at.announce([asked("application/new")]));
    const parts = await putParts(at.name, multi, bytesOf(size, 1));
    expect((await at.ask("outputs/commit", { outputs: [{ key: "runs/x", parts }] })).status).toBe(200);
    const stored = await env.DATASETS.head(`${at.name}/runs/x`);
    expect(stored?.httpMetadata?.contentType).toBe("application/new");
  });

  it("loses nothing to a clean-up of the announcement before that comes late", async () => {
    const at = await fresh();
    await at.announce([small]);
    await at.ask("outputs/abort", { keys: [small.key] });
    const now = first(await at.announce([small]));
    await putBy(now, "12345");
    await runInDurableObject(at.job, async (object, { storage }) => {
      storage.sql.exec("INSERT INTO cleanup (key, generation, due_at) VALUES (?, 1, 0)", small.key);
      await object.alarm();
      expect(storage.sql.exec("SELECT 1 FROM cleanup").toArray()).toEqual([]);
    });
    expect([await text(at.name, small.key), (await outputIn(at, small.key))?.state]).toEqual(["12345", "announced"]);
  });
});

describe("an announcement by urls", () => {
  const urls = (at: Fresh, size: number) =>
    at.ask<{ urls: { url: string; headers: Record<string, string> }[] }>("urls", {
      method: "PUT",
      objects: [{ key: small.key, size }],
    });

  it("that is the same again keeps what a URL of before has put; of another size it is another", async () => {
    const at = await fresh();
    await putBy(first((await urls(at, 5)).body.urls), "12345");
    const again = first((await urls(at, 5)).body.urls);
    expect(again.headers).toMatchObject({ "x-amz-meta-penstock-output": "1" });
    expect(first((await urls(at, 6)).body.urls).headers).toMatchObject({ "x-amz-meta-penstock-output": "2" });
    expect(first((await urls(at, 5)).body.urls).headers).toMatchObject({ "x-amz-meta-penstock-output": "3" });
    expect(codeOf(await at.ask("finish", {}))).toEqual([409, "output-mismatch"]);
  });
});

describe("an upload of a commit that has found the object", () => {
  it("and has not completed it itself is aborted", async () => {
    const at = await fresh();
    const output = { key: "runs/x", size: PART_BYTES + 10, multipart: true };
    const multi = first(await at.announce([output]));
    const put = await env.DATASETS.put(`${at.name}/runs/x`, bytesOf(output.size, 1), {
      customMetadata: { "penstock-job": at.spec.id, "penstock-output": "1" },
    });
    must(await at.job.commitOutputs([foundAt("runs/x", put, at.spec.id)]));
    await runDurableObjectAlarm(at.job);
    expect(await stillOpen([{ key: `${at.name}/runs/x`, uploadId: uploadOf(multi) }])).toEqual([]);
  });
});
