import { runInDurableObject } from "cloudflare:test";
import { beforeAll, describe, expect, it } from "vitest";
import { apiTokens } from "./harness/api.ts";
import { codeOf, freshJobs, heldStill } from "./harness/output-jobs.ts";
import { outputIn, putBy, putParts } from "./harness/outputs.ts";
import { bytesOf, envWith, PART_BYTES } from "./harness/source.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});
heldStill();

const fresh = freshJobs("refused", () => seen);

/** Bodies of each route that name a key. */
const naming = (key: string): Record<string, object> => ({
  outputs: { outputs: [{ key, size: 1 }] },
  "outputs/parts": { key, parts: [1] },
  "outputs/commit": { outputs: [{ key }] },
  "outputs/abort": { keys: [key] },
  urls: { method: "PUT", objects: [{ key, size: 1 }] },
  finish: { outputs: [key] },
});

describe("a key in a body", () => {
  it("of three million characters is refused by its field, in few words, before the job is asked", async () => {
    const at = await fresh();
    for (const [route, body] of Object.entries(naming(`runs/${"x".repeat(3_000_000)}`))) {
      const answered = await at.ask(route, body);
      // Two of the routes take no body so large.
      expect(["key-too-long", "body-too-large"], route).toContain(answered.body["code"]);
      expect(JSON.stringify(answered.body).length, route).toBeLessThan(1000);
    }
    for (const [route, body] of Object.entries(naming(`runs/${"x".repeat(2000)}`))) {
      const answered = await at.ask(route, body);
      expect(codeOf(answered), route).toEqual([400, "key-too-long"]);
      expect(answered.body["field"], route).toMatch(/key|keys|outputs/);
    }
  });

  it.each(["runs/\ud800", "runs/a\u0000b"])("that no object can have, %j, is refused everywhere", async (key) => {
    const at = await fresh();
    for (const [route, body] of Object.entries(naming(key))) {
      expect(codeOf(await at.ask(route, body)), route).toEqual([400, "invalid-key"]);
    }
  });

  it("that is named twice, in one spelling or two, is refused by its field", async () => {
    const at = await fresh();
    const bytes = bytesOf(PART_BYTES + 100, 3);
    const [multi] = await at.announce([{ key: "runs/x", size: bytes.length, multipart: true }]);
    if (multi === undefined) throw new Error("It was not announced.");
    const parts = await putParts(at.name, multi, bytes);
    const twice = await at.ask("outputs/commit", { outputs: [{ key: "runs/x", parts }, { key: "runs/x" }] });
    expect([...codeOf(twice), twice.body["field"]]).toEqual([400, "invalid-body", "outputs.1.key"]);
    for (const keys of [
      ["runs/a", "runs/a"],
      ["runs/\u00e9", "runs/e\u0301"],
    ]) {
      const objects = keys.map((key, index) => ({ key, size: 5 + index }));
      const urls = await at.ask("urls", { method: "PUT", objects });
      expect([...codeOf(urls), urls.body["field"]]).toEqual([400, "invalid-body", "objects.1.key"]);
      const outputs = await at.ask("outputs", { outputs: objects });
      expect([...codeOf(outputs), outputs.body["field"]]).toEqual([400, "invalid-body", "outputs.1.key"]);
      expect(await outputIn(at, keys[0] ?? "")).toBeUndefined();
    }
  });
});

describe("an output of a checkpoint", () => {
  it("is not aborted by itself: the checkpoint would be committed as if it were whole", async () => {
    const at = await fresh();
    const [a] = await at.announce(
      [
        { key: "runs/s/a", size: 5 },
        { key: "runs/s/b", size: 5 },
      ],
      { checkpoint: "s" },
    );
    await putBy(a ?? {}, "12345");
    const refused = await at.ask("outputs/abort", { keys: ["runs/s/b"] });
    expect([...codeOf(refused), refused.body["field"]]).toEqual([409, "output-in-checkpoint", "keys"]);
    expect(codeOf(await at.ask("outputs/commit", { checkpoint: "s" }))).toEqual([409, "output-missing"]);
    expect((await at.ask("outputs/abort", { checkpoint: "s" })).status).toBe(200);
  });

  it("is refused where looking at all of it would take more requests than one commit makes", async () => {
    const at = await fresh();
    const announce = (from: number) =>
      at.job.announceOutputs(
        Array.from({ length: 1000 }, (_, index) => ({
          ...{ key: `runs/s/${from + index}`, size: 6_000_000, contentType: "x" },
          ...{ sha256: "0".repeat(64), partBytes: PART_BYTES },
        })).map((output) => ({ ...output, size: 1 })),
        "s",
      );
    expect((await announce(0)).ok).toBe(true);
    const refused = await announce(1000);
    expect(refused).toMatchObject({ failure: { code: "invalid-body", field: "outputs" } });
    expect(refused.ok ? "" : refused.failure.detail).toMatch(/10000 requests .* 9000\. Make several checkpoints/);
  });

  it("is refused where it has more parts than one commit can name; a commit of as many as it may have is read", async () => {
    const at = await fresh();
    const outputs = (from: number) =>
      Array.from({ length: 50 }, (_, index) => ({
        ...{ key: `runs/s/${from + index}`, size: 1000 * PART_BYTES, contentType: "x" },
        ...{ sha256: null, partBytes: PART_BYTES },
      }));
    expect((await at.job.announceOutputs(outputs(0), "s")).ok).toBe(true);
    const refused = await at.job.announceOutputs(outputs(50), "s");
    expect(refused).toMatchObject({ failure: { code: "invalid-body", field: "outputs" } });
    expect(refused.ok ? "" : refused.failure.detail).toMatch(/100000 parts, .* 50000 .* Make several checkpoints/);
    const parts = Array.from({ length: 1000 }, (_, index) => ({ number: index + 1, etag: "e".repeat(256) }));
    const committed = await at.ask("outputs/commit", {
      checkpoint: "s",
      outputs: outputs(0).map(({ key }) => ({ key, parts })),
    });
    // It was never put.
    expect(codeOf(committed)).toEqual([409, "output-missing"]);
  });
});

describe("a job that has had as many outputs as it may", () => {
  it("may announce a key anew that is free again, for that is no more rows; and no other", async () => {
    const at = await fresh();
    await at.announce([{ key: "runs/a", size: 5 }]);
    await at.ask("outputs/abort", { keys: ["runs/a"] });
    await runInDurableObject(at.job, (_, { storage }) => {
      storage.sql.exec(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
           INSERT INTO output (key, size, content_type, state, generation)
             SELECT 'runs/z' || i, 1, 'x', 'deleted', i FROM n`,
      );
    });
    const announced = await at.ask("outputs", { outputs: [{ key: "runs/a", size: 5 }] });
    expect(announced.status).toBe(200);
    expect(codeOf(await at.ask("outputs", { outputs: [{ key: "runs/b", size: 5 }] }))).toEqual([400, "invalid-body"]);
  });
});
