import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { migrationOf } from "../../workers/adapters/objects.ts";
import {
  bytesAtSource,
  isComplete,
  isCreate,
  isPart,
  isPut,
  isWrite,
  keysAtSource,
  runBack,
  same,
  seen,
  source,
  writer,
} from "./harness/back.ts";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectNothingLeft } from "./harness/expect-exact.ts";
import { intercept, refusal, type Wire } from "./harness/intercept.ts";
import { reportLines, said } from "./harness/report-lines.ts";
import { must, registerDataset, startRun } from "./harness/run.ts";
import { bytesOf, fill, PART_BYTES, text } from "./harness/source.ts";

afterEach(() => vi.restoreAllMocks());

describe("a source that is not to be written", { timeout: 300_000 }, () => {
  const small = text("an output");
  const large = bytesOf(2 * PART_BYTES + 5, 7);

  async function withOutputs(dataset: string): Promise<void> {
    await registerDataset(dataset, `${dataset}/`);
    await env.DATASETS.put(`${dataset}/large`, large);
    await env.DATASETS.put(`${dataset}/small`, small);
  }

  it.each<[string, string, (wire: Wire) => boolean, number]>([
    ["read-only", "any write", isWrite, 0],
    ["no-parts", "puts and parts", (wire) => isPut(wire) || isPart(wire), 1],
    ["no-completing", "puts and completing", (wire) => isPut(wire) || isComplete(wire), 1],
  ])(
    "%s: credentials that may not do %s are source-forbidden, and nothing is left half-written",
    async (dataset, _, isRefused, created) => {
      await withOutputs(dataset);
      const wires = intercept((wire, pass) => (isRefused(wire) ? refusal(403, "AccessDenied") : pass()));
      const { run, status } = await runBack(dataset);
      vi.restoreAllMocks();
      expect([status.state, status.copied]).toEqual(["done", { objects: 0, bytes: 0 }]);
      expect(status.failures.map(({ key, code }) => [key, code])).toEqual([
        ["large", "source-forbidden"],
        ["small", "source-forbidden"],
      ]);
      expect(said(await reportLines(run))).toEqual([
        "large: failed source-forbidden",
        "small: failed source-forbidden",
      ]);
      expect(await keysAtSource(`${dataset}/`)).toEqual([]);
      // It is not asked again and again what it has refused for good.
      expect(wires.filter(isPut)).toHaveLength(1);
      const made = wires.filter(isCreate);
      expect(made).toHaveLength(dataset === "read-only" ? 1 : created);
      const aborts = wires.filter(({ method, query }) => method === "DELETE" && query.has("uploadId"));
      expect(aborts).toHaveLength(created);
      for (const { query } of aborts) {
        const again = await writer.uploadPart(`${dataset}/large`, query.get("uploadId") ?? "", 1, small, small.length);
        expect(again).toMatchObject({ ok: false, failure: { code: "upload-lost" } });
      }
      await expectNothingLeft(run);
    },
  );

  it("has what it refused later, in a run that is asked for what failed", async () => {
    await withOutputs("back-later");
    intercept((wire, pass) => (isWrite(wire) ? refusal(403, "AccessDenied") : pass()));
    const { run } = await runBack("back-later");
    vi.restoreAllMocks();
    const keys = { kind: "report" as const, migration: run.id, outcomes: ["failed"] };
    const next = await startRun("back-later", seen, { direction: "back", keys });
    await carry(next);
    expect(said(await reportLines(next))).toEqual(["large: copied", "small: copied"]);
    expect(same(await bytesAtSource("back-later/large"), large)).toBe(true);
  });

  it("that fails for a while is asked again", async () => {
    await withOutputs("back-unwell");
    let refused = 0;
    intercept((wire, pass) => (isWrite(wire) && refused++ % 3 === 0 ? refusal(503, "SlowDown") : pass()));
    const { run, status } = await runBack("back-unwell");
    vi.restoreAllMocks();
    expect([status.state, status.copied.objects, status.failed.objects]).toEqual(["done", 2, 0]);
    expect(refused).toBeGreaterThan(4);
    expect(said(await reportLines(run))).toEqual(["large: copied", "small: copied"]);
    expect(same(await bytesAtSource("back-unwell/large"), large)).toBe(true);
  });
});

describe("what changes during a run back", { timeout: 300_000 }, () => {
  /** What happens once the listing is over. */
  const afterListing =
    (happens: () => Promise<void>) =>
    async (letter: Letter, env_: Env): Promise<"ack" | "retry"> => {
      const answer = await deliver(letter, env_);
      if (letter.body.type === "list") await happens();
      return answer;
    };

  it("at the source: what somebody put there meanwhile stays", async () => {
    await registerDataset("back-race", "back-race/");
    await env.DATASETS.put("back-race/small", "ours");
    await env.DATASETS.put("back-race/large", bytesOf(PART_BYTES + 1, 1));
    const theirs = new Map(["small", "large"].map((key) => [key, text(`theirs: ${key}`)]));
    const { run, status } = await runBack("back-race", {
      hand: afterListing(async () => void (await fill("back-race/", theirs))),
    });
    expect(status.copied.objects).toBe(0);
    expect(said(await reportLines(run))).toEqual([
      "large: failed destination-changed",
      "small: failed destination-changed",
    ]);
    for (const [key, bytes] of theirs) expect(same(await bytesAtSource(`back-race/${key}`), bytes)).toBe(true);
    await expectNothingLeft(run);
  });

  it("at the source: what somebody put there that is the same counts as copied", async () => {
    await registerDataset("back-equal", "back-equal/");
    await env.DATASETS.put("back-equal/small", "the same");
    const { run } = await runBack("back-equal", {
      hand: afterListing(async () => void (await fill("back-equal/", new Map([["small", text("the same")]])))),
    });
    expect(said(await reportLines(run))).toEqual(["small: copied"]);
    expect(must(await source.head("back-equal/small")).custom).toEqual({});
  });

  it("in R2: an object is copied as it is now, and one that is gone is not", async () => {
    await registerDataset("back-changed", "back-changed/");
    const now = new Map([
      ["small", text("after")],
      ["large", bytesOf(PART_BYTES + 99, 2)],
    ]);
    for (const key of ["small", "gone"]) await env.DATASETS.put(`back-changed/${key}`, "before");
    await env.DATASETS.put("back-changed/large", bytesOf(PART_BYTES + 1, 1));
    const { run, status } = await runBack("back-changed", {
      hand: afterListing(async () => {
        for (const [key, bytes] of now) await env.DATASETS.put(`back-changed/${key}`, bytes);
        await env.DATASETS.delete("back-changed/gone");
      }),
    });
    expect(said(await reportLines(run))).toEqual([
      "gone: failed source-object-missing",
      "large: copied",
      "small: copied",
    ]);
    for (const [key, bytes] of now) expect(same(await bytesAtSource(`back-changed/${key}`), bytes)).toBe(true);
    const bytes = [...now.values()].reduce((sum, { length }) => sum + length, 0);
    expect([status.copied.bytes, status.listed.objects]).toEqual([bytes, 3]);
  });

  it("is nothing to whatever the queue does: each object is copied once", async () => {
    await registerDataset("back-queue", "back-queue/");
    const objects = new Map<string, Uint8Array<ArrayBuffer>>(
      Array.from({ length: 30 }, (_, i) => [`o/${i}`, bytesOf(i * 11, i + 1)]),
    );
    objects.set("large", bytesOf(PART_BYTES + 3, 99));
    for (const [key, bytes] of objects) await env.DATASETS.put(`back-queue/${key}`, bytes);
    const wires = intercept();
    const { run, status } = await runBack("back-queue", {
      arrange: (letters) => [...letters, ...letters].reverse(),
      consumers: 6,
    });
    vi.restoreAllMocks();
    expect([status.copied.objects, status.failed.objects, status.proofs]).toEqual([31, 0, { md5: 30, parts: 1 }]);
    expect((await reportLines(run)).map(({ key }) => key)).toEqual([...objects.keys()].sort());
    for (const [key, bytes] of objects) expect(same(await bytesAtSource(`back-queue/${key}`), bytes), key).toBe(true);
    const ended = wires.filter(
      ({ query, method }) => query.has("uploadId") && (method === "DELETE" || method === "POST"),
    );
    expect(new Set(ended.map(({ query }) => query.get("uploadId"))).size).toBe(wires.filter(isCreate).length);
    await expectNothingLeft(run);
  });

  it("and is cancelled: what the source holds open is aborted", async () => {
    await registerDataset("back-cancel", "back-cancel/");
    await env.DATASETS.put("back-cancel/large", bytesOf(2 * PART_BYTES, 5));
    const wires = intercept();
    const { run, status } = await runBack("back-cancel", {
      hand: async (letter, at) => {
        const answer = await deliver(letter, at);
        if (letter.body.type === "upload") must(await migrationOf(env, letter.body.migration).cancel());
        return answer;
      },
    });
    vi.restoreAllMocks();
    expect(status.state).toBe("cancelled");
    expect(wires.filter(isCreate)).toHaveLength(1);
    expect(wires.filter(({ method }) => method === "DELETE")).toHaveLength(1);
    expect(await keysAtSource("back-cancel/")).toEqual([]);
    await expectNothingLeft(run);
  });
});
