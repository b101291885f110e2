import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import {
  commonPrefix,
  comparePositions,
  EVERYTHING,
  type ManifestQuery,
  matches,
  type Position,
  type RowPage,
  SORTS,
} from "../../workers/core/manifest/query.ts";
import { STAGES, type StoredRow } from "../../workers/core/manifest/row.ts";
import { givenRow } from "../harness/rows.ts";
import { must, registerDataset } from "./harness/run.ts";
import { takeOut } from "./harness/take-out.ts";

/** To run one again, put its seed here. */
const seed = Math.floor(Math.random() * 2 ** 31);

/** Mulberry32. */
function chanceOf(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
const chance = chanceOf(seed);
const below = (n: number) => Math.floor(chance() * n);
const oneOf = <T>(some: readonly T[]): T => some[below(some.length)] as T;

const query = (said: Partial<ManifestQuery>): ManifestQuery => ({ ...EVERYTHING, ...said });
const id = (name: string) => `ds_${name}`;

async function put(name: string, keys: readonly string[], size: (index: number) => number = () => 1): Promise<void> {
  for (let at = 0; at < keys.length; at += 1000) {
    const rows = keys
      .slice(at, at + 1000)
      .map((key, index) => givenRow(key, { size: size(at + index), uploadedAt: (at + index) * 1000 }));
    must(await datasetOf(env, name).applyRows(id(name), rows));
  }
}

/** Puts what was removed: the Dataset asks, and hears that it is there. */
async function putAgain(name: string, keys: readonly string[]): Promise<void> {
  const dataset = datasetOf(env, name);
  const rows = keys.map((key) => givenRow(key));
  const { questions } = must(await dataset.applyRows(id(name), rows));
  must(
    await dataset.answerRows(
      id(name),
      questions.map((each) => ({ ...each, row: givenRow(each.key) })),
    ),
  );
}

/** All pages of a query, as a client asks for them; what happens between two is up to `between`. */
async function all(
  name: string,
  asked: ManifestQuery,
  limit: number,
  between: (pages: number) => Promise<void> = async () => {},
) {
  const dataset = datasetOf(env, name);
  const pages: RowPage[] = [];
  let upTo: number | null = null;
  for (let after: Position | null = null; ;) {
    const page: RowPage = must(await dataset.query({ ...asked, changedUpTo: upTo }, after, limit));
    pages.push(page);
    if (pages.length > 2000) throw new Error("It never ends.");
    if (asked.sort.endsWith("changed")) upTo ??= page.seq;
    after = page.next;
    if (after === null) break;
    await between(pages.length);
  }
  return {
    rows: pages.flatMap(({ rows }) => rows),
    removed: pages.flatMap(({ removed }) => removed),
    prefixes: pages.flatMap(({ prefixes }) => prefixes),
    pages,
  };
}

/** What a page had SQLite do: the plans of its statements, and the rows that they read. */
async function costOf(name: string, asked: ManifestQuery, after: Position | null, limit: number) {
  return runInDurableObject(datasetOf(env, name), async (object, { storage }) => {
    const exec = vi.spyOn(storage.sql, "exec");
    const page = must(await object.query(asked, after, limit));
    const calls = exec.mock.calls.map((call) => [...call] as [string, ...SqlStorageValue[]]);
    const read = exec.mock.results.reduce(
      (sum, { value }) => sum + (value as SqlStorageCursor<Record<string, SqlStorageValue>>).rowsRead,
      0,
    );
    exec.mockRestore();
    const plans = calls.flatMap(([sql, ...values]) =>
      storage.sql
        .exec<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, ...values)
        .toArray()
        .map(({ detail }) => detail),
    );
    return { page, read, plans, statements: calls.length };
  });
}

describe("a query of the live manifest", () => {
  const name = "mixed";
  let rows: StoredRow[] = [];
  let gone: RowPage["removed"] = [];
  let seqs: number[] = [];
  const folders = [
    "",
    "raw/",
    "raw/cats/",
    "raw/dogs/",
    "processed/cats/",
    "processed/",
    "acquired/x/",
    "cats/",
    "cats/deep/",
    "é/",
    "\u{1f600}/",
  ];

  beforeAll(async () => {
    await registerDataset(name, "mixed/");
    const keys = Array.from(
      { length: 400 },
      (_, i) => `${oneOf(folders)}${below(50)}-${i}${oneOf([".json", ".jsonl", ""])}`,
    );
    for (let at = 0; at < keys.length; at += 40) await put(name, keys.slice(at, at + 40), () => below(100));
    await takeOut(datasetOf(env, name), id(name), keys.slice(100, 130));
    await putAgain(name, keys.slice(110, 115));
    const { rows: there } = await all(name, EVERYTHING, 1000);
    rows = there;
    seqs = [...new Set(there.map(({ seq }) => seq))];
    gone = (await all(name, query({ sort: "changed", changedSince: 0 }), 1000)).removed;
    expect([rows.length > 300, gone.length]).toEqual([true, 25]);
  });

  /** What a follower of the query is told as removed: what is gone, and what has changed and is not wanted. */
  const changedBut = ({ prefix, suffix, changedSince }: ManifestQuery, wanted: readonly StoredRow[]): Position[] => {
    const shown = new Set(wanted.map(({ key }) => key));
    return [...rows, ...gone]
      .filter(({ key, seq }) => seq > (changedSince ?? 0) && key.startsWith(prefix) && key.endsWith(suffix))
      .filter(({ key }) => !shown.has(key))
      .map(({ key, seq }) => ({ key, seq }));
  };

  it(`finds what a walk over all rows finds, in its order, whatever the page's size (seed ${seed})`, async () => {
    for (let run = 0; run < 300; run++) {
      const sort = oneOf(SORTS);
      const isByKey = sort.endsWith("key");
      const maybe = <T>(value: T): T | null => (chance() < 0.25 ? value : null);
      const asked = query({
        sort,
        prefix: oneOf([...folders, "", "", "c", "raw/cats/1"]),
        delimiter: isByKey ? maybe(oneOf(["/", "-", "ats/"])) : null,
        suffix: maybe(".json") ?? "",
        stage: maybe(oneOf(STAGES)),
        category: maybe(oneOf(["cats", "dogs", "x", "deep"])),
        minSize: maybe(below(60)),
        maxSize: maybe(40 + below(60)),
        modifiedSince: maybe(below(40) * 1000),
        changedSince: isByKey ? null : maybe(oneOf(seqs)),
      });
      const found = await all(name, asked, 1 + below(40));
      const expected = rows
        .filter((row) => commonPrefix(row.key, asked) === null && matches(row, asked))
        .toSorted((a, b) => comparePositions(a, b, sort));
      const say = JSON.stringify(asked);
      expect(
        found.rows.map(({ key }) => key),
        say,
      ).toEqual(expected.map(({ key }) => key));
      expect(found.rows, say).toEqual(expected);
      // All that has changed since and is of the query's keys: either as it is, or as not wanted any more.
      const left = asked.changedSince === null ? [] : changedBut(asked, expected);
      const order = (a: Position, b: Position) => comparePositions(a, b, sort);
      expect(found.removed.map(({ key, seq }) => ({ key, seq })).toSorted(order), say).toEqual(left.toSorted(order));
      expect(found.removed, say).toEqual(found.removed.toSorted(order));
      const under = rows.filter(({ key }) => key.startsWith(asked.prefix));
      const prefixes = [...new Set(under.flatMap(({ key }) => commonPrefix(key, asked) ?? []))];
      const ordered = prefixes.toSorted((a, b) => comparePositions({ key: a, seq: 0 }, { key: b, seq: 0 }, sort));
      expect(found.prefixes, say).toEqual(ordered);
    }
  });

  it("by changes tells what was removed since, in its place among them, and no key that is there again", async () => {
    const since = Math.min(...seqs);
    const { removed, rows: changed } = await all(name, query({ sort: "changed", changedSince: since }), 7);
    expect(removed).toHaveLength(25);
    const keys = new Set(changed.map(({ key }) => key));
    expect(removed.filter(({ key }) => keys.has(key))).toEqual([]);
    const some = await all(name, query({ sort: "changed", changedSince: since, suffix: ".json" }), 7);
    expect(some.removed.map(({ key }) => key)).toEqual(
      removed.map(({ key }) => key).filter((key) => key.endsWith(".json")),
    );
  });
});

describe("a listing while the dataset changes", () => {
  it.each(SORTS)(
    "by %s neither skips nor repeats a row that stays, and the seq at its start tells the rest",
    async (sort) => {
      const name = `busy${sort.replace("-", "0")}`;
      await registerDataset(name, `${name}/`);
      const keys = Array.from({ length: 200 }, (_, i) => `k${String(i).padStart(3, "0")}`);
      await put(name, keys);
      const dataset = datasetOf(env, name);
      const touched = new Set<string>();
      const { rows, pages } = await all(name, query({ sort }), 9, async () => {
        const changed = oneOf(keys);
        const removed = oneOf(keys);
        for (const key of [changed, removed, "new"]) touched.add(key);
        const [question] = must(await dataset.hint(id(name), [{ key: changed, etag: "other" }])).questions;
        if (question !== undefined) {
          must(await dataset.answerRows(id(name), [{ ...question, row: givenRow(changed, { etag: "other" }) }]));
        }
        await takeOut(dataset, id(name), [removed]);
        must(await dataset.applyRows(id(name), [givenRow(`new${touched.size}`)]));
      });
      const seen = rows.map(({ key }) => key).filter((key) => keys.includes(key) && !touched.has(key));
      const stayed = keys.filter((key) => !touched.has(key));
      expect(seen.toSorted()).toEqual(stayed);
      expect(new Set(rows.map(({ key }) => key)).size, "no key twice").toBe(rows.length);
      const begun = pages[0]?.seq ?? 0;
      const since = await all(name, query({ sort: "changed", changedSince: begun }), 1000);
      const told = new Set([...since.rows, ...since.removed].map(({ key }) => key));
      for (const key of touched) if (key !== "new") expect(told.has(key), key).toBe(true);
    },
  );
});

describe("changedSince", () => {
  it.each([["changed"], ["-changed"]] as const)(
    "by %s tells who follows a part of a dataset what has left it, page by page, and what is in it still",
    async (sort) => {
      const name = `followed${sort.replace("-", "0")}`;
      await registerDataset(name, `${name}/`);
      const dataset = datasetOf(env, name);
      await put(name, ["raw/a", "raw/b", "raw/c", "processed/d", "raw/gone", "raw/kept"], (index) => index);
      const since = (await all(name, query({ stage: "raw" }), 10)).pages[0]?.seq ?? 0;
      must(await dataset.place(["raw/a"], { stage: "processed", category: null }));
      must(await dataset.place(["raw/b"], { stage: "raw", category: "cats" }));
      must(await dataset.place(["processed/d"], { stage: "processed", category: "cats" }));
      await takeOut(dataset, id(name), ["raw/gone"]);
      for (const limit of [1, 2, 100]) {
        const { rows, removed } = await all(name, query({ stage: "raw", sort, changedSince: since }), limit);
        expect(rows.map(({ key }) => key)).toEqual(["raw/b"]);
        // "processed/d" never was in it: that is not known any more.
        const left = ["raw/a", "processed/d", "raw/gone"];
        expect(removed.map(({ key }) => key)).toEqual(sort === "changed" ? left : left.toReversed());
        expect(removed.every(({ at }) => at > Date.now() - 60_000)).toBe(true);
      }
      const keys = async (said: Partial<ManifestQuery>) =>
        (await all(name, query({ sort, changedSince: since, ...said }), 100)).removed.map(({ key }) => key).toSorted();
      expect(await keys({})).toEqual(["raw/gone"]);
      expect(await keys({ prefix: "raw/", category: "cats" })).toEqual(["raw/a", "raw/gone"]);
      expect(await keys({ suffix: "a", maxSize: 0 })).toEqual([]);
      expect(await keys({ suffix: "a", minSize: 1 })).toEqual(["raw/a"]);
      expect(await keys({ modifiedSince: 1000 })).toEqual(["raw/a", "raw/gone"]);
    },
  );

  it("before the last removal that was forgotten is refused, and one that never was, too", async () => {
    await registerDataset("forgetful", "forgetful/");
    await put("forgetful", ["a", "b"]);
    const dataset = datasetOf(env, "forgetful");
    await runInDurableObject(
      dataset,
      (_, { storage }) => void storage.sql.exec("UPDATE head SET seq = 9, forgotten = 5"),
    );
    const codeOf = async (changedSince: number) => {
      const page = await dataset.query(query({ sort: "changed", changedSince }), null, 10);
      return page.ok ? "ok" : `${page.failure.code} ${page.failure.field ?? ""}`;
    };
    expect(await codeOf(4)).toBe("changes-forgotten changedSince");
    expect(await codeOf(5)).toBe("ok");
    expect(await codeOf(10)).toBe("invalid-query changedSince");
  });
});

/** A sort of all that is found. That of the last term is of tombstones with one `seq`: what one call removed. */
const isSort = (plan: string) => plan.includes("TEMP B-TREE") && !plan.includes("LAST TERM");

describe("what a page costs", () => {
  const name = "large";
  const keys = Array.from({ length: 24_000 }, (_, i) => {
    const n = String(i).padStart(6, "0");
    const folder = i % 100 === 0 ? "raw/rare/" : `${["raw", "processed"][i % 2] ?? ""}/c${i % 5}/`;
    return i < 2000 ? `many/${n}/x` : i < 4000 ? `many/${n}` : `${folder}${n}`;
  });
  const inTheMiddle = { key: "processed/c2/012003", seq: 12 };

  beforeAll(async () => {
    await registerDataset(name, "large/");
    await put(name, keys, (index) => index);
  });

  const cheap: [string, Partial<ManifestQuery>, Position | null][] = [
    ["by prefix", { prefix: "processed/c2/" }, inTheMiddle],
    ["by key", {}, inTheMiddle],
    ["by key, descending", { sort: "-key" }, inTheMiddle],
    ["by change", { sort: "changed" }, inTheMiddle],
    ["by change, descending", { sort: "-changed", prefix: "" }, inTheMiddle],
    ["by change, within two seqs", { sort: "changed", changedSince: 3, changedUpTo: 20 }, inTheMiddle],
    ["by stage", { stage: "raw" }, inTheMiddle],
    ["by stage and category", { stage: "raw", category: "rare" }, null],
    ["by category", { category: "rare" }, null],
    ["by stage and prefix, descending", { stage: "processed", prefix: "p", sort: "-key" }, inTheMiddle],
  ];
  it.each(cheap)("%s is that of its rows, wherever it is, and sorts nothing", async (_, said, after) => {
    const { page, read, plans } = await costOf(name, query(said), after, 20);
    expect(page.rows).toHaveLength(20);
    // A row of the index, one of the table, and one of its origin; twice the rows where five categories are merged.
    expect(read).toBeLessThan(700);
    expect(plans.filter(isSort)).toEqual([]);
  });

  it("of a stage is a share of each of its categories, and none is left out", async () => {
    const { rows, pages } = await all(name, query({ stage: "raw" }), 2000);
    const raw = keys.filter((key) => key.startsWith("raw/")).toSorted();
    expect(rows.map(({ key }) => key)).toEqual(raw);
    expect(pages.every(({ rows: some }) => some.length <= 2000)).toBe(true);
  });

  it("where little matches is bounded, and it goes on where it left off", async () => {
    const asked = query({ minSize: 23_990 });
    const { page, read, plans } = await costOf(name, asked, null, 100);
    expect([page.rows.length < 10, page.next !== null]).toEqual([true, true]);
    expect(read).toBeLessThan(41_000);
    expect(plans.filter(isSort)).toEqual([]);
    const { rows } = await all(name, asked, 100);
    expect(rows.map(({ size }) => size).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 10 }, (__, i) => 23_990 + i),
    );
    const byChange = await all(name, query({ minSize: 23_990, sort: "changed" }), 100);
    expect([byChange.rows.length, byChange.pages.length > 1]).toEqual([10, true]);
  });

  it("with a delimiter is a look-up or two a prefix, however much is in it", async () => {
    const top = await costOf(name, query({ delimiter: "/" }), null, 100);
    expect(top.page.prefixes).toEqual(["many/", "processed/", "raw/"]);
    expect(top.read).toBeLessThan(20);
    const { page, read } = await costOf(name, query({ prefix: "many/", delimiter: "/" }), null, 1000);
    expect([page.prefixes.length, page.rows.length]).toEqual([1000, 0]);
    expect(read).toBeLessThan(4000);
    const { statements } = await costOf(
      name,
      query({ prefix: "many/", delimiter: "/" }),
      { key: "many/001999/", seq: 0 },
      1000,
    );
    expect(statements, "keys between prefixes come in runs").toBeLessThan(20);
  });

  it("never has more rows than the message may hold bytes of", async () => {
    await registerDataset("heavy", "heavy/");
    const tags = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`tag${i}`, "v".repeat(2000)]));
    for (let at = 0; at < 400; at += 50) {
      const rows = Array.from({ length: 50 }, (_, i) => givenRow(`k${1000 + at + i}`, { tags }));
      must(await datasetOf(env, "heavy").applyRows(id("heavy"), rows));
    }
    const { rows, pages } = await all("heavy", EVERYTHING, 4000);
    expect([rows.length, pages.length]).toEqual([400, 3]);
    const folded = await all("heavy", query({ delimiter: "/" }), 4000);
    expect([folded.rows.length, folded.pages.length]).toEqual([400, 3]);
  });

  it("never has more than that of all its categories together, and skips and repeats none", async () => {
    await registerDataset("wide", "wide/");
    const tags = { tag: "v".repeat(20_000) };
    const wide = Array.from({ length: 640 }, (_, i) => `raw/c${i % 16}/k${String(i).padStart(3, "0")}`);
    for (let at = 0; at < 640; at += 80) {
      const rows = wide.slice(at, at + 80).map((key) => givenRow(key, { tags }));
      must(await datasetOf(env, "wide").applyRows(id("wide"), rows));
    }
    for (const [sort, said] of [
      ["key", { stage: "raw" }],
      ["-key", { stage: "raw" }],
      ["changed", { changedSince: 0 }],
    ] as const) {
      const { rows, pages } = await all("wide", query({ sort, ...said }), 4000);
      const found = rows.map(({ key }) => key);
      expect(sort === "changed" ? found.toSorted() : found).toEqual(
        sort === "-key" ? wide.toSorted().toReversed() : wide.toSorted(),
      );
      const units = pages.map((page) => JSON.stringify(page).length);
      expect(Math.max(...units), sort).toBeLessThan(4_500_000);
      expect(pages.length, sort).toBeLessThan(80);
    }
  });
});
