import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { rowOfPut } from "../harness/rows.ts";
import { keysAtSource, runBack, seen } from "./harness/back.ts";
import { carry } from "./harness/delivery.ts";
import { expectNothingLeft } from "./harness/expect-exact.ts";
import { takeAway } from "./harness/extraneous.ts";
import { reportLines, said } from "./harness/report-lines.ts";
import { must, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { bytesOf, fill, PART_BYTES, type Stored, text } from "./harness/source.ts";
import { deliverMiss, missOf, reconfigure } from "./harness/through.ts";
import { watchBucket } from "./harness/watched-bucket.ts";
import { EVERYTHING } from "../../workers/core/manifest/query.ts";

afterEach(() => vi.restoreAllMocks());

const NFD = "gone/e\u0301";
const NFC = "gone/\u00e9";

/**
 * A dataset whose manifest is younger than what R2 has: `old` was migrated in, a reader's miss had one more copied, a job
 * and other tools put theirs, the owner deleted at the source; and then the folder was registered anew.
 */
async function younger(name: string): Promise<void> {
  const old = `${name}-old`;
  await registerDataset(old, `${name}/`);
  await reconfigure(old, { prefix: `${name}/`, read: "through" });
  const keys = ["kept", "gone/small", NFD, "written-over", "put-again"];
  const objects = new Map(keys.map((key) => [key, text(`source ${key}`)]));
  await fill(`${name}/`, new Map([...objects, ["gone/large", bytesOf(PART_BYTES + 7, 1)]]));
  const run = await startRun(old, seen);
  await carry(run);
  expect(await statusOf(run)).toMatchObject({ state: "done", copied: { objects: 6 } });
  const read = await fill(`${name}/`, new Map([["gone/read", text("read")]]));
  await deliverMiss(missOf(old, "gone/read", read.get("gone/read") as Stored), seen);
  await env.DATASETS.put(`${name}/out/small`, "a job's");
  await env.DATASETS.put(`${name}/out/large`, bytesOf(PART_BYTES + 9, 2));
  // What somebody has written over says nothing of a source, be it with the very same bytes.
  await env.DATASETS.put(`${name}/written-over`, "another");
  await env.DATASETS.put(`${name}/put-again`, "source put-again");
  await takeAway(`${name}/`, ["gone/small", "gone/large", "gone/read", NFD, "written-over", "put-again"]);
  expect(await keysAtSource(`${name}/`)).toEqual(["kept"]);

  await registerDataset(name, `${name}/`);
  expect(must(await datasetOf(env, name).query(EVERYTHING, null, 1000)).rows).toEqual([]);
}

const COPIED = ["out/large", "out/small", "put-again", "written-over"];
const KEPT = ["gone/large", "gone/read", "gone/small", NFC];

describe("a run back of a dataset whose manifest has no rows", { timeout: 300_000 }, () => {
  let run: TestRun;
  let asked: string[];

  beforeAll(async () => {
    await younger("unknown");
    const watched = watchBucket();
    run = await startRun("unknown", { ...seen, DATASETS: watched.bucket }, { direction: "back" });
    await carry(run);
    asked = watched.operations.filter((operation) => operation.name === "head").map(({ key }) => key);
  });

  it("copies what was not copied from the source, and leaves what was, and is gone there", async () => {
    expect(await keysAtSource("unknown/")).toEqual(["kept", ...COPIED].sort());
    const lines = [...COPIED.map((key) => `${key}: copied`), ...KEPT.map((key) => `${key}: kept is-source's`)];
    expect(said(await reportLines(run))).toEqual([...lines, "kept: same"].sort());
    const { state, copied, skipped, failed } = await statusOf(run);
    expect([state, copied.objects, skipped.objects, failed.objects]).toEqual(["done", 4, 5, 0]);
    await expectNothingLeft(run);
  });

  it("looks at each object that it has no row of, once, and again at what it copies in parts", async () => {
    const all = [...COPIED, ...KEPT, "kept"].map((key) => `unknown/${key}`);
    expect(asked.toSorted()).toEqual([...all, "unknown/out/large"].sort());
  });

  it("looks at none that it has a row of", async () => {
    const watched = watchBucket();
    const rows = (await env.DATASETS.list({ prefix: "unknown/" })).objects.map((object) =>
      rowOfPut(object.key.slice("unknown/".length), object, { writer: "mig_of_before" }),
    );
    must(await datasetOf(env, "unknown").applyRows("ds_unknown", rows));
    const again = await startRun("unknown", { ...seen, DATASETS: watched.bucket }, { direction: "back" });
    await carry(again);
    expect((await statusOf(again)).state).toBe("done");
    expect(watched.count().heads).toBe(0);
  });
});

describe("what cannot be looked at", { timeout: 300_000 }, () => {
  it("is looked at again, and is not brought back meanwhile", async () => {
    await younger("unseen");
    const failing = new Set(KEPT.map((key) => `unseen/${key}`));
    const { bucket } = watchBucket({
      head: (key, answer) => (failing.delete(key) ? Promise.reject(new Error("(10001)")) : answer()),
    });
    const run = await startRun("unseen", { ...seen, DATASETS: bucket }, { direction: "back" });
    await carry(run);
    expect(failing.size).toBe(0);
    expect(await keysAtSource("unseen/")).toEqual(["kept", ...COPIED].sort());
    expect((await statusOf(run)).state).toBe("done");
  });

  it("for it is gone by now becomes a failure of its own, and no other's", async () => {
    await younger("vanished");
    const { bucket } = watchBucket({
      head: async (key, answer) => {
        if (key === "vanished/out/small") await env.DATASETS.delete(key);
        return answer();
      },
    });
    const run = await startRun("vanished", { ...seen, DATASETS: bucket }, { direction: "back" });
    await carry(run);
    expect(await keysAtSource("vanished/")).toEqual(["kept", ...COPIED].filter((key) => key !== "out/small").sort());
    expect(said(await reportLines(run))).toContain("out/small: failed source-object-missing");
  });
});

describe("a run back of such a dataset", { timeout: 300_000 }, () => {
  it("looks at the keys that it is given likewise", async () => {
    await younger("named");
    const run = await startRun("named", seen, { direction: "back", keys: ["gone/small", "out/small"] });
    await carry(run);
    expect(said(await reportLines(run))).toEqual(["gone/small: kept is-source's", "out/small: copied"]);
    expect(await keysAtSource("named/")).toEqual(["kept", "out/small"]);
  });

  it("says in a dry run what it would do", async () => {
    await younger("said");
    const run = await startRun("said", seen, { direction: "back", dryRun: true });
    await carry(run);
    const lines = [...COPIED.map((key) => `${key}: would-copy`), ...KEPT.map((key) => `${key}: kept is-source's`)];
    expect(said(await reportLines(run))).toEqual([...lines, "kept: same"].sort());
    expect(await keysAtSource("said/")).toEqual(["kept"]);
  });

  it("copies nothing more the second time", async () => {
    await younger("twice");
    await runBack("twice");
    const { status } = await runBack("twice");
    expect([status.state, status.copied.objects, status.failed.objects]).toEqual(["done", 0, 0]);
  });
});
