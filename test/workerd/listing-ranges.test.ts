import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf, migrationOf } from "../../workers/adapters/objects.ts";
import { LIST_RANGES_MAX, QUEUE_BACKLOG_MAX } from "../../workers/core/limits.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { carry, type Carrier, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact } from "./harness/expect-exact.ts";
import { smallPages } from "./harness/extraneous.ts";
import { around } from "./harness/interrupted.ts";
import { must, passTime, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { dice, SEED } from "./harness/seed.ts";
import { envWith, fill, type Stored, text } from "./harness/source.ts";

afterEach(() => vi.restoreAllMocks());

const named = (keys: readonly string[]) => new Map(keys.map((key) => [key, text(`at ${key}`)]));
const numbered = (count: number, name: (i: string) => string) =>
  Array.from({ length: count }, (_, i) => name(String(i).padStart(3, "0")));

/** Has the next listing of the dataset cut at these keys, as after a run whose pages ended there. */
async function cutAt(name: string, cuts: readonly string[]): Promise<void> {
  must(await datasetOf(env, name).beginMigration(`ds_${name}`, "mig_00000000000000000000000000", Date.now()));
  await datasetOf(env, name).endMigration(`ds_${name}`, "mig_00000000000000000000000000", [...cuts]);
}

/** A run whose source lists ten keys a page. */
async function start(name: string, prefix: string, cuts: readonly string[], seen = envWith("plain")): Promise<TestRun> {
  smallPages(10);
  await registerDataset(name, prefix);
  await cutAt(name, cuts);
  return startRun(name, seen);
}

const rangesOf = (run: TestRun): Promise<{ after: string | null; end: string | null }[]> =>
  runInDurableObject(migrationOf(env, run.id), (_, { storage }) =>
    storage.sql
      .exec<{ body: string }>("SELECT body FROM outbox WHERE type = 'list'")
      .toArray()
      .map(({ body }) => JSON.parse(body) as { after: string | null; end: string | null }),
  );

/** Carries the run, looking at its open ranges after each page: there are never too many, and no two have a key in common. */
async function carryWatched(run: TestRun, carrier: Carrier = {}): Promise<{ most: number; ends: Set<string | null> }> {
  const seenRanges = { most: 0, ends: new Set<string | null>() };
  const look = async () => {
    const ranges = await rangesOf(run);
    seenRanges.most = Math.max(seenRanges.most, ranges.length);
    for (const { end } of ranges) seenRanges.ends.add(end);
    const sorted = ranges.toSorted((a, b) => compareUtf8(a.after ?? "", b.after ?? ""));
    for (const [i, { end }] of sorted.entries()) {
      const next = sorted[i + 1];
      if (next !== undefined)
        expect(end !== null && compareUtf8(end, next.after ?? "") <= 0, "ranges overlap").toBe(true);
    }
  };
  await look();
  await carry(run, {
    ...carrier,
    hand: (letter, seen) => deliver(letter, around(seen, "recordPage", { after: look })),
  });
  expect(seenRanges.most).toBeLessThanOrEqual(LIST_RANGES_MAX);
  return seenRanges;
}

/** The pages that a run has recorded: each an interval of keys. */
const pagesOf = (run: TestRun) =>
  runInDurableObject(migrationOf(env, run.id), (_, { storage }) =>
    storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM page").one(),
  ).then(({ n }) => n);

/** Each letter is lost, or comes up to three times; in any order. */
const misdeliver = (letters: readonly Letter[], chance: () => number): Letter[] =>
  letters
    .flatMap((letter) => Array.from({ length: Math.floor(chance() * 4) }, () => ({ letter, place: chance() })))
    .sort((a, b) => a.place - b.place)
    .map(({ letter }) => letter);

/** Keys where UTF-16, UTF-8 and Unicode's normal forms disagree about the order. */
const AWKWARD = [
  "a",
  "b/",
  "b/1",
  "e",
  "e\u0301",
  "e\u0301f",
  "é\u0300",
  "f",
  "\ud7ff",
  "\ue000",
  "\uffee",
  "\uffeex",
].concat(["😀", "😀/1", "𐀀", "\u{10ffff}", "日本", "K/\u212b", "z"].concat(numbered(30, (i) => `n/${i}`)));

describe("a listing that is cut into ranges", { timeout: 300_000 }, () => {
  let source: Map<string, Stored>;
  beforeAll(async () => {
    source = await fill("cut-up/", named(AWKWARD));
  });

  const exact = async (run: TestRun) => {
    const inNfc = new Map([...source].map(([key, stored]) => [key.normalize("NFC"), stored]));
    expect(inNfc.size).toBe(source.size);
    return expectExact(run, inNfc);
  };

  it.each([
    ["at keys of the source", ["a", "e\u0301", "n/009", "n/019", "\ue000", "😀", "\u{10ffff}"]],
    ["between its keys", ["A", "e", "n", "n/0095", "\uf000", "𐀁", "zz"]],
    ["before the first, and behind the last", ["\u0001", "0", "\u{10ffff}z"]],
    ["in whatever order they are given, and twice", ["😀", "n/019", "b/", "😀", "\uffee"]],
  ])("%s has every key once", async (name, cuts) => {
    const run = await start(`cut-${name.slice(0, 12).replaceAll(" ", "-").toLowerCase()}`, "cut-up/", cuts);
    const { most } = await carryWatched(run);
    expect(most).toBeGreaterThanOrEqual(new Set(cuts).size + 1);
    await exact(run);
  });

  it.each([1, 2, SEED])("has every key once, its messages misdelivered (seed %i)", async (seed) => {
    const chance = dice(seed);
    const cuts = AWKWARD.filter(() => chance() < 0.15).slice(0, LIST_RANGES_MAX - 1);
    const run = await start(`cut-misdelivered-${seed}`, "cut-up/", cuts);
    await carry(run, { arrange: (letters) => misdeliver(letters, chance), consumers: 1 + Math.floor(chance() * 4) });
    await exact(run);
  });

  it("has every key once when two consumers walk each range at the same time", async () => {
    const run = await start("cut-at-once", "cut-up/", ["e", "n/009", "😀"]);
    await carry(run, { arrange: (letters) => letters.flatMap((letter) => [letter, { ...letter }]), consumers: 8 });
    await exact(run);
  });

  it("has the keys that stand in its prefix and pass its globs, by whatever it is cut", async () => {
    smallPages(10);
    await registerDataset("cut-filtered", "cut-up/");
    const run = await startRun("cut-filtered", envWith("plain"), { prefix: "n/", exclude: ["n/01*"] });
    await carryWatched(run);
    const { listed, copied } = await statusOf(run);
    expect([listed.objects, copied.objects, listed.complete]).toEqual([20, 20, true]);
  });
});

describe("a listing cuts itself", { timeout: 300_000 }, () => {
  it("at the folders of the source, into no more ranges than are walked at once", async () => {
    const keys = numbered(30, (i) => i).flatMap((i) => [`f${i}/a`, `f${i}/b`, `f${i}/c`]);
    const source = await fill("folders/", named(keys));
    const run = await start("folders", "folders/", []);
    const { most, ends } = await carryWatched(run);
    expect(most).toBe(LIST_RANGES_MAX);
    expect([...ends].filter((end) => end?.endsWith("/") === true).length).toBeGreaterThanOrEqual(LIST_RANGES_MAX - 1);
    await expectExact(run, source);
  });

  // The last range has most left, and is cut while all others are open.
  it.each([
    ["its messages come the last first", { arrange: (letters: Letter[]) => letters.toReversed() }],
    ["eight consumers are at it", { consumers: 8 }],
  ])("at the folders of its last range beside the cuts that it had, into no more: %s", async (how, carrier) => {
    const name = `folders-too-${how.length}`;
    const keys = numbered(30, (i) => i).flatMap((i) => [`f${i}/a`, `f${i}/b`, `f${i}/c`]);
    const source = await fill(`${name}/`, named([...numbered(12, (i) => `!${i}`), ...keys]));
    const run = await start(name, `${name}/`, ["!001", "!003", "!005", "!007", "!009"]);
    const { most, ends } = await carryWatched(run, carrier);
    expect(most).toBe(LIST_RANGES_MAX);
    expect([...ends].some((end) => end?.endsWith("/") === true)).toBe(true);
    await expectExact(run, source);
  });

  it("not where there is no room by then: somebody else goes on, up to where the range ends", async () => {
    const run = await start("no-room", "cut-up/", ["b", "c", "d", "e", "f", "g", "h"]);
    const page = {
      ...{
        after: null,
        upTo: "a",
        rest: { after: "a", end: "b" },
        cuts: ["aa", "ab"],
        skipped: { objects: 0, bytes: 0 },
      },
      ...{ proofs: {}, found: [], small: [], large: [], largeParts: 0, failures: [], extraneous: [], hazards: {} },
    };
    expect(await rangesOf(run)).toHaveLength(LIST_RANGES_MAX);
    const next = await migrationOf(env, run.id).recordPage(1, { ...page, report: null }, {}, true);
    expect(next, "its consumer would go on up to the first cut").toBe(null);
    const ranges = await rangesOf(run);
    expect(ranges).toHaveLength(LIST_RANGES_MAX);
    expect(ranges.at(-1)).toMatchObject({ after: "a", end: "b" });
  });

  it("where a probe finds keys on both sides, if there are no folders", async () => {
    const keys = numbered(120, (i) => `${"abcdefghijkl"[Number(i) % 12]}-${i}`);
    const source = await fill("probed/", named(keys));
    const run = await start("probed", "probed/", []);
    const { most, ends } = await carryWatched(run);
    expect(most).toBeGreaterThan(1);
    expect(
      [...ends].filter((end) => end !== null && !keys.includes(end)).length,
      "cut between two keys",
    ).toBeGreaterThan(0);
    await expectExact(run, source);
    expect(await pagesOf(run)).toBeGreaterThanOrEqual(12);
  });

  it.each([1, SEED])("wherever it does, its messages misdelivered (seed %i)", async (seed) => {
    const chance = dice(seed);
    const shapes = ["x", "dir/", "😀/", "\ue000", "e\u0301", "long-common-beginning-"];
    const keys = new Set<string>();
    while (keys.size < 90) {
      const shape = shapes[Math.floor(chance() * shapes.length)] ?? "";
      keys.add(`${shape}${Math.floor(chance() * 4000)}`);
    }
    const source = await fill(`shapes-${seed}/`, named([...keys]));
    const run = await start(`shapes-${seed}`, `shapes-${seed}/`, []);
    await carryWatched(run, { arrange: (letters) => misdeliver(letters, chance) });
    await expectExact(run, new Map([...source].map(([key, stored]) => [key.normalize("NFC"), stored])));
  });

  it("the next time where its pages ended", async () => {
    const source = await fill("next-time/", named(numbered(60, (i) => i)));
    const run = await start("next-time", "next-time/", []);
    await carry(run);
    const next = await startRun("next-time", envWith("plain"));
    expect((await rangesOf(next)).length).toBeGreaterThan(2);
    const { most } = await carryWatched(next);
    expect(most).toBeGreaterThan(2);
    const { skipped } = await expectExact(next, source);
    expect(skipped.objects).toBe(60);
  });
});

describe("a listing waits while the queue has more than enough to do", { timeout: 300_000 }, () => {
  /** The Worker's environment in which the queue of migrations says that it holds so many messages. */
  const withBacklog = (metrics: () => Promise<{ backlogCount: number }>): Env => {
    const queue = { metrics } as unknown as Queue;
    return envWith("plain", { MIGRATION_QUEUE: queue });
  };

  it("asks the source for nothing meanwhile, burns no try, and goes on when there is room", async () => {
    const source = await fill("backlog/", named(numbered(25, (i) => i)));
    let backlogCount = QUEUE_BACKLOG_MAX + 1;
    const seen = withBacklog(async () => ({ backlogCount }));
    const run = await start("backlog", "backlog/", ["010"], seen);
    let deliveries = 0;
    let waits = 0;
    await carry(run, {
      hand: (letter, to) => {
        if (letter.body.type === "list") deliveries += 1;
        return deliver(letter, to);
      },
      wait: async () => {
        waits += 1;
        const { listed, operations } = await statusOf(run);
        if (waits <= 12)
          expect({ listed: listed.objects, lists: operations.sourceList }).toEqual({ listed: 0, lists: 0 });
        // More often than a listing may fail.
        if (waits === 12) backlogCount = QUEUE_BACKLOG_MAX;
        await passTime(run, 16);
      },
    });
    expect(waits).toBeGreaterThanOrEqual(12);
    expect(deliveries).toBeGreaterThanOrEqual(24);
    await expectExact(run, source);
  });

  it("and does not wait for a queue that does not tell", async () => {
    const source = await fill("untold/", named(numbered(25, (i) => i)));
    const seen = withBacklog(() => Promise.reject(new Error("Queue metrics are unavailable.")));
    const run = await start("untold", "untold/", [], seen);
    await carry(run, { wait: () => Promise.reject(new Error("It has waited.")) });
    await expectExact(run, source);
  });
});
