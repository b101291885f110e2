import { env } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { EVERYTHING } from "../../workers/core/manifest/query.ts";
import { tick } from "../../workers/cron.ts";
import { givenRow, rowOfPut } from "../harness/rows.ts";
import { ADMIN, api, apiTokens, READER } from "./harness/api.ts";
import { handOver } from "./harness/notify.ts";
import { must, registerDataset } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";
import { carryWalk, pagesOf, passWalkTime, stepOf, walkOf } from "./harness/walk.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

const SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
let seen: Env;

beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});

beforeEach(() => {
  for (const method of ["log", "warn", "error"] as const) vi.spyOn(console, method).mockReturnValue(undefined);
});

const walk = (name: string, body?: object, token = ADMIN) =>
  api(seen, `POST /v1/datasets/${name}/reconcile`, body, token);
const statusOf = async (name: string) =>
  (await api(seen, `GET /v1/datasets/${name}/reconcile`, undefined, READER)).body;

/** A dataset with objects that the manifest knows as they are: 3 bytes of "abc" each. */
async function filled(name: string, keys: readonly string[]) {
  await registerDataset(name, "nothing/");
  const rows = keys.map(async (key) =>
    rowOfPut(key, await env.DATASETS.put(`${name}/${key}`, "abc"), { proof: "md5" }),
  );
  must(await datasetOf(env, name).applyRows(`ds_${name}`, await Promise.all(rows)));
}

describe("a walk through the bucket", () => {
  it("mends what differs, leaves what is the same, and asks R2 about nothing else", async () => {
    await filled("mend", ["a", "b/1", "b/2", "c", "d", "é", "😀"]);
    await env.DATASETS.put("mend/b/1", "changed");
    await env.DATASETS.put("mend/b/11", "new");
    await env.DATASETS.delete("mend/d");
    await env.DATASETS.put("mend/", "of the prefix's own name");
    await env.DATASETS.put("mend-not/x", "of a neighbour");
    expect(await walk("mend")).toMatchObject({ status: 202, body: { state: "running", endedAt: null } });
    const watched = watchBucket({}, pagesOf(2).DATASETS);
    await carryWalk("mend", { ...env, DATASETS: watched.bucket });
    const counts = { listed: 7, same: 5, added: 1, changed: 1, removed: 1, hashed: 0, tooLarge: 0 };
    expect(await statusOf("mend")).toMatchObject({
      state: "done",
      problem: null,
      ...counts,
      endedAt: expect.any(String) as string,
    });
    expect(watched.operations.map(({ key }) => key).toSorted()).toEqual(["mend/b/1", "mend/b/11", "mend/d"]);
    expect(await rowAt("mend", "a")).toMatchObject({ proof: "md5", writer: "mig_01" });
    expect(await rowAt("mend", "b/11")).toMatchObject({ size: 3, proof: null, writer: "found:reconcile" });
    expect(await rowAt("mend", "b/1")).toMatchObject({ size: 7, proof: null });
    expect([await rowAt("mend", "d"), await datasetOf(env, "mend").isBuried("d")]).toEqual([undefined, false]);
    // No row of before brings it back.
    const late = must(await datasetOf(env, "mend").applyRows("ds_mend", [givenRow("d")]));
    expect([late.written, late.questions.map(({ key }) => key)]).toEqual([0, ["d"]]);
    // Once more, there is nothing to mend.
    await walk("mend");
    await carryWalk("mend", pagesOf(2));
    expect(await statusOf("mend")).toMatchObject({
      state: "done",
      listed: 7,
      same: 7,
      added: 0,
      changed: 0,
      removed: 0,
    });
  });

  it("takes out thousands of rows whose objects are gone, between two objects that are there, a thousand a step", async () => {
    await filled("holes", ["a", "z"]);
    const gone = Array.from({ length: 2500 }, (_, n) => givenRow(`m/${String(n).padStart(4, "0")}`));
    must(await datasetOf(env, "holes").applyRows("ds_holes", gone));
    await walk("holes");
    const watched = watchBucket();
    expect(await handOver([await stepOf("holes")], { ...env, DATASETS: watched.bucket })).toEqual(["ack"]);
    expect([watched.count().heads, await statusOf("holes")]).toMatchObject([
      1000,
      { listed: 1, same: 1, removed: 1000 },
    ]);
    await carryWalk("holes");
    expect(await statusOf("holes")).toMatchObject({ listed: 2, same: 2, removed: 2500 });
    const { rows } = must(await datasetOf(env, "holes").query(EVERYTHING, null, 10));
    expect(rows.map(({ key }) => key)).toEqual(["a", "z"]);
  }, 60_000);

  it("asks once more about what a consumer asked and died", async () => {
    await filled("asked", ["k"]);
    must(await datasetOf(env, "asked").hint("ds_asked", [{ key: "k", etag: "other" }]));
    await walk("asked");
    await carryWalk("asked");
    expect(await statusOf("asked")).toMatchObject({ listed: 1, same: 0, changed: 0 });
    await walk("asked");
    await carryWalk("asked");
    expect(await statusOf("asked")).toMatchObject({ listed: 1, same: 1 });
  });

  it("is one at a time: who asks again is answered with the one that runs", async () => {
    await filled("one", ["a"]);
    await walk("one", {});
    const { walk: first } = await walkOf("one");
    expect(await walk("one", { checksums: ["sha256"] })).toMatchObject({ status: 202, body: { checksums: [] } });
    expect((await walkOf("one")).walk).toBe(first);
    await carryWalk("one");
    await walk("one");
    expect((await walkOf("one")).walk).not.toBe(first);
  });

  it("counts a step once, though its message comes twice, and its first consumer died after all of it", async () => {
    await filled(
      "twice",
      Array.from({ length: 25 }, (_, n) => `k/${n}`),
    );
    await walk("twice");
    const dying = Object.assign(pagesOf(1), {
      DATASET: {
        getByName: (name: string) =>
          new Proxy(env.DATASET.getByName(name), {
            get: (target, property) =>
              property === "walked" ? () => Promise.reject(new Error("killed")) : Reflect.get(target, property),
          }),
      } as unknown as Env["DATASET"],
    });
    const step = await stepOf("twice");
    expect(await handOver([step], dying)).toEqual(["retry"]);
    expect(await handOver([step], pagesOf(1))).toEqual(["ack"]);
    expect(await handOver([step], pagesOf(1))).toEqual(["ack"]);
    expect(await statusOf("twice")).toMatchObject({ state: "running", listed: 10, same: 10 });
    expect(await handOver([step], pagesOf(1))).toEqual(["ack"]);
    await carryWalk("twice", pagesOf(1));
    expect(await statusOf("twice")).toMatchObject({ state: "done", listed: 25, same: 25 });
  });

  it("sends a step again that was silent for too long, and has failed when none of its consumers ends", async () => {
    await filled("silent", ["a"]);
    await walk("silent");
    expect(await walkOf("silent")).toMatchObject({ step: 0, sends: 1 });
    await passWalkTime("silent", 1);
    expect((await walkOf("silent")).sends).toBe(1);
    await passWalkTime("silent", env.SILENCE_SECONDS);
    expect(await walkOf("silent")).toMatchObject({ step: 0, sends: 2, state: "running" });
    for (let sends = 2; sends < 11; sends++) await passWalkTime("silent", env.SILENCE_SECONDS);
    expect(await statusOf("silent")).toMatchObject({ state: "failed", problem: { code: "dead-letter" } });
    expect((await walkOf("silent")).due_at).toBeNull();
    expect(await handOver([await stepOf("silent")])).toEqual(["ack"]);
    await walk("silent");
    await carryWalk("silent");
    expect(await statusOf("silent")).toMatchObject({ state: "done", problem: null, listed: 1 });
  });

  it("goes on where it was when R2 answers again", async () => {
    await filled("weak", ["a"]);
    await env.DATASETS.put("weak/b", "new");
    await walk("weak");
    const { bucket } = watchBucket({ head: () => Promise.reject(new Error("internal (10001)")) });
    expect(await handOver([await stepOf("weak")], { ...env, DATASETS: bucket })).toEqual(["retry"]);
    expect(await statusOf("weak")).toMatchObject({ state: "running", listed: 0 });
    await carryWalk("weak");
    expect(await statusOf("weak")).toMatchObject({ state: "done", listed: 2, same: 1, added: 1 });
  });
});

describe("checksums of a walk", () => {
  it("are computed of what lacks them, at the row's own ETag, and kept", async () => {
    await filled("sums", ["a", "b", "c"]);
    const stub = datasetOf(env, "sums");
    must(
      await stub.takeChecksums("ds_sums", [
        { key: "b", size: 3, etag: (await rowAt("sums", "b"))?.etag ?? "", md5: null, sha256: "of b" },
      ]),
    );
    const etag = (await rowAt("sums", "c"))?.etag;
    await walk("sums", { checksums: ["sha256"] });
    await handOver([await stepOf("sums")]);
    expect(await statusOf("sums")).toMatchObject({ state: "running", checksums: ["sha256"], listed: 3, hashed: 0 });
    // Changed since its row was read, by somebody of whom nobody has heard.
    await env.DATASETS.put("sums/c", "another");
    await carryWalk("sums");
    expect(await statusOf("sums")).toMatchObject({ state: "done", hashed: 1, tooLarge: 0 });
    expect(await rowAt("sums", "a")).toMatchObject({ sha256: SHA256_OF_ABC, proof: "md5" });
    expect(await rowAt("sums", "b")).toMatchObject({ sha256: "of b" });
    expect(await rowAt("sums", "c")).toMatchObject({ sha256: null, etag });
  });

  it("that were computed take the place of others, and what is only said does not", async () => {
    await filled("truth", ["k"]);
    const stub = datasetOf(env, "truth");
    const { etag = "", size = 0 } = (await rowAt("truth", "k")) ?? {};
    const saidAt = { uploadedAt: Date.now() + 60_000, sourceModifiedAt: null };
    const say = async (sha256: string, more: { etag: string } | { etag: null; saidAt: typeof saidAt }) => {
      must(await stub.takeChecksums("ds_truth", [{ key: "k", size, md5: null, sha256, ...more }]));
      return (await rowAt("truth", "k"))?.sha256;
    };
    expect(await say("said", { etag: null, saidAt })).toBe("said");
    expect(await say("computed", { etag })).toBe("computed");
    expect(await say("said", { etag: null, saidAt })).toBe("computed");
  });

  it("are refused for a row that is of another object by now", async () => {
    await filled("refused", ["k"]);
    const stale = [
      { key: "k", size: 3, etag: "another", md5: null, sha256: "x" },
      { key: "gone", size: 3, etag: "e", md5: null, sha256: "x" },
    ];
    expect(must(await datasetOf(env, "refused").takeChecksums("ds_refused", stale))).toEqual({ missing: 1, other: 1 });
    expect((await rowAt("refused", "k"))?.sha256).toBeNull();
  });
});

describe("the routes of a walk", () => {
  it("tell that there was none, and need an admin to begin one", async () => {
    await filled("routes", ["a"]);
    expect(await statusOf("routes")).toEqual({ dataset: "routes", state: "never" });
    expect(await walk("routes", {}, READER)).toMatchObject({ status: 403, body: { code: "forbidden-role" } });
    expect(await walk("nobodys")).toMatchObject({ status: 404, body: { code: "unknown-dataset" } });
  });

  it.each([
    [{ checksum: ["sha256"] }, "checksum"],
    [{ checksums: ["md4"] }, "checksums.0"],
    [{ checksums: "sha256" }, "checksums"],
  ])("refuse %j, and name the field", async (body, field) => {
    expect(await walk("routes", body)).toMatchObject({ status: 400, body: { code: "invalid-body", field } });
  });
});

describe("reconcileSeconds", () => {
  const HOUR_MS = 3_600_000;
  const put = (more: object) => api(seen, "PUT /v1/datasets/timed", { kind: "files", prefix: "timed/", ...more });
  const isRunning = async () => (await statusOf("timed"))["state"] === "running";

  it("has the cron walk the bucket, and again so long after the last walk's end", async () => {
    expect((await put({ reconcileSeconds: 3600 })).body["reconcileSeconds"]).toBe(3600);
    const { id } = (await api(seen, "GET /v1/datasets/timed")).body;
    await tick(Date.now(), seen);
    expect(await isRunning()).toBe(true);
    const { walk: first, step } = await walkOf("timed");
    await tick(Date.now() + 60_000, seen);
    expect((await walkOf("timed")).walk).toBe(first);
    await handOver([{ ...(await stepOf("timed")), datasetId: id, step }]);
    expect(await isRunning()).toBe(false);
    const end = Date.now();
    for (const minutes of [2, 30, 59]) await tick(end + minutes * 60_000, seen);
    expect(await isRunning()).toBe(false);
    await tick(end + 2 * HOUR_MS, seen);
    expect(await isRunning()).toBe(true);
  });

  it("is never where it is null, which is the default, and refused where it is no time", async () => {
    expect(
      (await api(seen, "PATCH /v1/datasets/timed", { reconcileSeconds: null })).body["reconcileSeconds"],
    ).toBeNull();
    const { id } = (await api(seen, "GET /v1/datasets/timed")).body;
    await handOver([{ ...(await stepOf("timed")), datasetId: id }]);
    await tick(Date.now() + 100 * HOUR_MS, seen);
    expect(await isRunning()).toBe(false);
    expect((await put({})).body["reconcileSeconds"]).toBeNull();
    expect(await put({ reconcileSeconds: 5 })).toMatchObject({ status: 400, body: { field: "reconcileSeconds" } });
  });
});
