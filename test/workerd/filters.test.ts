import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { Overwrite } from "../../workers/core/migration/join.ts";
import type { MigrationOptions } from "../../workers/core/migration/request.ts";
import { carry, deliver } from "./harness/delivery.ts";
import { keysInR2 } from "./harness/expect-exact.ts";
import { type ListedAs, listedAs } from "./harness/listed-as.ts";
import { reportLines, said } from "./harness/report-lines.ts";
import { registerDataset, startRun, statusOf } from "./harness/run.ts";
import { bytesOf, envWith, envWithSource, fill, PART_BYTES, text } from "./harness/source.ts";
import { replacing } from "./harness/uploads.ts";

const seen = envWithSource({});
afterEach(() => vi.restoreAllMocks());

async function runOf(dataset: string, options: Partial<MigrationOptions>, at: Env = seen) {
  const run = await startRun(dataset, at, options);
  await carry(run);
  return { run, status: await statusOf(run), lines: said(await reportLines(run)) };
}

describe("a filter", { timeout: 300_000 }, () => {
  const SIZES = new Map([
    ["a/0.bin", 0],
    ["a/10.bin", 10],
    ["a/10.json", 10],
    ["a/deep/er/20.bin", 20],
    ["b/10.bin", 10],
    ["b/30.JSON", 30],
    ["top", 5],
  ]);
  const OLD = Date.parse("2020-01-01T00:00:00.000Z");
  const AS = new Map<string, ListedAs>([
    ["a/10.bin", { StorageClass: "STANDARD_IA", LastModified: new Date(OLD).toISOString() }],
    ["b/10.bin", { StorageClass: "GLACIER_IR", LastModified: new Date(OLD - 1).toISOString() }],
    ["b/30.JSON", { StorageClass: "STANDARD_IA", LastModified: new Date(OLD + 1).toISOString() }],
  ]);
  let serial = 0;

  beforeAll(async () => {
    await fill("filter/", new Map([...SIZES].map(([key, size], i) => [key, bytesOf(size, i + 1)])));
  });

  it.each<[string, Partial<MigrationOptions>, string[]]>([
    [
      "include, by globs of which one matches",
      { include: ["a/*", "top"] },
      ["a/0.bin", "a/10.bin", "a/10.json", "top"],
    ],
    ["exclude, by globs of which none matches", { exclude: ["**/*.bin", "b/**"] }, ["a/10.json", "top"]],
    ["both", { include: ["**/10.*"], exclude: ["b/**"] }, ["a/10.bin", "a/10.json"]],
    ["classes and cases of letters", { include: ["b/*.{bin,JSO[A-Z]}"] }, ["b/10.bin", "b/30.JSON"]],
    ["prefix, which need not end in a slash", { prefix: "a/1" }, ["a/10.bin", "a/10.json"]],
    [
      "prefix beside a glob, which is of the whole key",
      { prefix: "a/", include: ["a/deep/**", "10.bin"] },
      ["a/deep/er/20.bin"],
    ],
    ["minBytes, included", { minBytes: 20 }, ["a/deep/er/20.bin", "b/30.JSON"]],
    ["maxBytes, included: an empty object is none", { maxBytes: 5 }, ["a/0.bin", "top"]],
    ["both of them", { minBytes: 10, maxBytes: 10 }, ["a/10.bin", "a/10.json", "b/10.bin"]],
    ["modifiedSince, included", { modifiedSince: OLD, prefix: "a/10" }, ["a/10.bin", "a/10.json"]],
    [
      "modifiedSince, and a millisecond",
      { modifiedSince: OLD + 1, include: ["**/*0.{bin,JSON}"], minBytes: 10 },
      ["a/deep/er/20.bin", "b/30.JSON"],
    ],
    ["storage class", { storageClasses: ["STANDARD_IA", "GLACIER_IR"] }, ["a/10.bin", "b/10.bin", "b/30.JSON"]],
    ["storage class where none is told", { storageClasses: ["STANDARD"], maxBytes: 9 }, ["a/0.bin", "top"]],
    ["what nothing passes", { include: ["none/**"] }, []],
  ])("%s", async (_, filter, expected) => {
    const dataset = `filter-${++serial}`;
    await registerDataset(dataset, "filter/");
    listedAs(AS);
    const { status, lines } = await runOf(dataset, filter);
    expect(lines).toEqual(expected.map((key) => `${key}: copied`));
    expect(await keysInR2(`${dataset}/`)).toEqual(expected);
    const bytes = expected.reduce((sum, key) => sum + (SIZES.get(key) ?? 0), 0);
    const all = { objects: expected.length, bytes };
    expect([status.state, status.listed, status.copied]).toEqual(["done", { ...all, complete: true }, all]);
  });

  it("is of what is at the source: what R2 has beside it is neither asked for nor touched", async () => {
    await registerDataset("filter-beside", "filter/");
    for (const key of ["a/0.bin", "b/10.bin", "extra"]) await env.DATASETS.put(`filter-beside/${key}`, "a stranger's");
    const { lines } = await runOf("filter-beside", { prefix: "a/", maxBytes: 10 });
    expect(lines).toEqual(["a/0.bin: copied", "a/10.bin: copied", "a/10.json: copied"]);
    for (const key of ["b/10.bin", "extra"]) {
      expect(await (await env.DATASETS.get(`filter-beside/${key}`))?.text()).toBe("a stranger's");
    }
  });

  it("by prefix narrows the listing on both sides; one by glob walks all of it", async () => {
    const objects = new Map(
      Array.from({ length: 90 }, (_, i) => [`${i < 45 ? "m" : "n"}/${100 + i}`, text(`${i}`)] as const),
    );
    await fill("narrow/", objects);
    const asked: string[] = [];
    const list = (options?: R2ListOptions) => {
      asked.push(options?.prefix ?? "");
      return env.DATASETS.list(options);
    };
    const at = envWith("pages-of-20", { DATASETS: replacing(env.DATASETS, { list }) });
    await registerDataset("narrow-prefix", "narrow/");
    const byPrefix = await runOf("narrow-prefix", { prefix: "n/15" }, at);
    expect([byPrefix.status.copied.objects, byPrefix.status.operations.sourceList]).toEqual([10, 1]);
    expect(new Set(asked)).toEqual(new Set(["narrow-prefix/n/15"]));
    await registerDataset("narrow-glob", "narrow/");
    const byGlob = await runOf("narrow-glob", { include: ["n/15*"] }, at);
    expect(byGlob.lines.length).toBe(10);
    expect(byGlob.status.operations.sourceList, "five pages, and what cuts them into ranges").toBeGreaterThanOrEqual(5);
  });
});

describe("what becomes of an object that R2 has already", { timeout: 300_000 }, () => {
  const POLICIES = ["if-different", "never", "always", "if-newer"] as const satisfies readonly Overwrite[];
  // By what R2 has: nothing; what was migrated; the same bytes, put by somebody; other bytes, from before and after what the
  // source has; what was migrated, and changed since on either side.
  const STATES = [
    "changed-here",
    "changed-there",
    "equal",
    "equal-large",
    "equal-unknown",
    "missing",
    "newer",
    "older",
  ];
  const OUTCOMES: Record<Overwrite, string[]> = {
    "if-different": ["copied", "copied", "same", "same", "same", "copied", "copied", "copied"],
    never: ["kept never", "kept never", "same", "same", "same", "copied", "kept never", "kept never"],
    always: STATES.map(() => "copied"),
    "if-newer": ["kept not-newer", "copied", "same", "same", "same", "copied", "kept not-newer", "copied"],
  };
  const source = new Map([
    ...STATES.map((key) => [key, text(`the source's ${key}`)] as const),
    ["equal-large", bytesOf(PART_BYTES + 9, 4)] as const,
  ]);
  const changed = text("the source's changed-there, later");
  const versions = new Map<string, string | undefined>();

  beforeAll(async () => {
    const each = (work: (dataset: string, policy: Overwrite) => Promise<unknown>) =>
      Promise.all(POLICIES.map((policy) => work(`policy-${policy}`, policy)));
    await each(async (dataset) => {
      await registerDataset(dataset, `${dataset}/`);
      await env.DATASETS.put(`${dataset}/older`, "a stranger's older");
    });
    await scheduler.wait(1100);
    await each((dataset) => fill(`${dataset}/`, source));
    for (const policy of POLICIES) {
      const { status } = await runOf(`policy-${policy}`, { include: ["equal", "equal-large", "changed-*"] });
      expect(status.copied.objects).toBe(4);
    }
    await scheduler.wait(1100);
    await each(async (dataset) => {
      await env.DATASETS.put(`${dataset}/equal-unknown`, source.get("equal-unknown") ?? "");
      for (const key of ["newer", "changed-here"]) await env.DATASETS.put(`${dataset}/${key}`, `a stranger's ${key}`);
      await fill(`${dataset}/`, new Map([["changed-there", changed]]));
      for (const key of STATES)
        versions.set(`${dataset}/${key}`, (await env.DATASETS.head(`${dataset}/${key}`))?.version);
    });
  }, 300_000);

  it.each(POLICIES)("%s", async (overwrite) => {
    const dataset = `policy-${overwrite}`;
    const { status, lines, run } = await runOf(dataset, { overwrite });
    expect(lines).toEqual(STATES.map((key, i) => `${key}: ${OUTCOMES[overwrite][i]}`));
    for (const [i, key] of STATES.entries()) {
      const object = await env.DATASETS.get(`${dataset}/${key}`);
      const isCopied = OUTCOMES[overwrite][i] === "copied";
      expect(object?.version !== versions.get(`${dataset}/${key}`), `${key} was written`).toBe(isCopied);
      if (!isCopied) continue;
      const bytes = new Uint8Array((await object?.arrayBuffer()) ?? new ArrayBuffer(0));
      expect(bytes, key).toEqual(key === "changed-there" ? changed : source.get(key));
      expect(object?.customMetadata?.["penstock-migration"]).toBe(run.id);
    }
    const copied = OUTCOMES[overwrite].filter((outcome) => outcome === "copied").length;
    expect([status.state, status.copied.objects, status.skipped.objects]).toEqual([
      "done",
      copied,
      STATES.length - copied,
    ]);
    expect(status.secondsLeft).toBe(0);
  });

  it("and a run after that has nothing to do, but where everything is always copied", async () => {
    for (const overwrite of ["if-different", "never", "if-newer"] as const) {
      const { status } = await runOf(`policy-${overwrite}`, { overwrite });
      expect([overwrite, status.copied.objects]).toEqual([overwrite, 0]);
    }
    const { status } = await runOf("policy-always", { overwrite: "always" });
    expect(status.copied.objects).toBe(STATES.length);
  });

  it("always: each message twice, and the last first, copies everything once more", async () => {
    const run = await startRun("policy-always", seen, { overwrite: "always" });
    await carry(run, { arrange: (letters) => [...letters, ...letters].reverse(), consumers: 4 });
    const { copied, failed } = await statusOf(run);
    expect([copied.objects, failed.objects]).toEqual([STATES.length, 0]);
    expect(said(await reportLines(run))).toEqual(STATES.map((key) => `${key}: copied`));
  });

  it("never: not even what was put there between the listing and the copy", async () => {
    await fill("policy-race/", new Map([["x", text("the source's")]]));
    await registerDataset("policy-race", "policy-race/");
    const run = await startRun("policy-race", seen, { overwrite: "never" });
    await carry(run, {
      hand: async (letter, at) => {
        const answer = await deliver(letter, at);
        if (letter.body.type === "list") await env.DATASETS.put("policy-race/x", "a stranger's");
        return answer;
      },
    });
    expect(said(await reportLines(run))).toEqual(["x: failed destination-changed"]);
    expect(await (await env.DATASETS.get("policy-race/x"))?.text()).toBe("a stranger's");
  });
});
