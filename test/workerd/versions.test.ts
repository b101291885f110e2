import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { describe, expect, inject, it } from "vitest";
import { Sealing } from "../../durable-objects/dataset/sealing.ts";
import { Versions } from "../../durable-objects/dataset/versions.ts";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { findSealed } from "../../workers/adapters/sealed-versions.ts";
import { pageOfChanges } from "../../workers/adapters/version-changes.ts";
import { pageOfVersion } from "../../workers/adapters/version-rows.ts";
import { failure } from "../../workers/core/failure.ts";
import { EVERYTHING, type ManifestQuery, type Position, type RowPage } from "../../workers/core/manifest/query.ts";
import type { StoredRow } from "../../workers/core/manifest/row.ts";
import type { Change, SealedFile } from "../../workers/core/manifest/version.ts";
import { ok } from "../../workers/core/result.ts";
import { describeVersionResolver } from "../contract/version-resolver.ts";
import { randomFrom } from "../harness/chance.ts";
import { givenRow } from "../harness/rows.ts";
import { must } from "./harness/run.ts";
import { type DatasetStub, sealable, sealInSteps } from "./harness/sealed.ts";
import { takeOut } from "./harness/take-out.ts";
import { brokenOff, watchBucket, withBody } from "./harness/watched-bucket.ts";

describeVersionResolver("A version that was sealed", async (objects) => {
  const { id, name, stub, seal } = await sealable();
  must(
    await stub.applyRows(
      id,
      [...objects].map(([key, object]) => givenRow(key, object)),
    ),
  );
  const { number } = await seal();
  return must(await findSealed(env, { id, name }, String(number)));
});

type Page = (after: Position | null, limit: number) => Promise<RowPage>;

/** All that a query finds, by pages of `limit`. */
async function all(page: Page, limit: number): Promise<{ rows: StoredRow[]; prefixes: string[] }> {
  const found = { rows: [] as StoredRow[], prefixes: [] as string[] };
  for (let after: Position | null = null; ;) {
    const { rows, prefixes, next } = await page(after, limit);
    expect(rows.length + prefixes.length).toBeLessThanOrEqual(limit);
    found.rows.push(...rows);
    found.prefixes.push(...prefixes);
    after = next;
    if (after === null) return found;
  }
}

async function listVersion(stub: DatasetStub, number: number, query = EVERYTHING, limit = 1000) {
  const { info, files } = must(await stub.version({ kind: "number", number }));
  return all(
    async (after, most) => must(await pageOfVersion(env, { seq: info.seq, files }, query, after, most)),
    limit,
  );
}

describe("a version is what there was when it was begun", () => {
  it("however much is written and deleted while it is sealed; and versions say what changed between them", async () => {
    const random = randomFrom(inject("seed"));
    const roll = (below: number) => Math.floor(random() * below);
    const { id, name, stub } = await sealable();
    const live = new Map<string, string>();
    let writes = 0;
    const put = async (key: string) => {
      const row = givenRow(key, { etag: (++writes).toString(16).padStart(32, "0"), size: writes });
      const { questions } = must(await stub.applyRows(id, [row]));
      must(
        await stub.answerRows(
          id,
          questions.map((question) => ({ ...question, row })),
        ),
      );
      live.set(key, row.etag);
    };
    const remove = async (key: string) => {
      if (live.has(key)) await takeOut(stub, id, [key]);
      live.delete(key);
    };
    const change = async (times: number) => {
      for (let n = 0; n < times; n++) {
        const key = `k${String(roll(200)).padStart(3, "0")}`;
        await (roll(3) === 0 ? remove(key) : put(key));
      }
    };
    const sealed: { number: number; was: Map<string, string> }[] = [];
    for (const changes of [200, 40, 0, 100]) {
      await change(changes);
      await put("z");
      await remove("z"); // No change.
      const was = new Map(live);
      const number = await sealInSteps(stub, id, () => change(4));
      sealed.push({ number, was });
      const { rows } = await listVersion(stub, number, EVERYTHING, 13);
      expect(rows.map(({ key, etag }) => [key, etag])).toEqual([...was].toSorted(([a], [b]) => (a < b ? -1 : 1)));
      const resolver = must(await findSealed(env, { id, name }, String(number)));
      for (let n = 0; n < 200; n++) {
        const key = `k${String(n).padStart(3, "0")}`;
        const found = await resolver.resolve(key);
        expect(found.ok ? found.value.etag : found.failure.code).toBe(was.get(key) ?? "object-not-found");
      }
    }
    for (const [a, b] of sealed.flatMap((one, n) => sealed.slice(n + 1).map((other) => [one, other] as const))) {
      const chain: (readonly SealedFile[])[] = [];
      for (let number = a.number + 1; number <= b.number; number++) {
        chain.push(must(await stub.version({ kind: "number", number })).files);
      }
      const found: (string | null)[][] = [];
      for (let after: string | null = null; ;) {
        const page: { changes: Change[]; next: string | null } = must(await pageOfChanges(env, chain, after, 11));
        found.push(...page.changes.map((each) => [each.key, each.before?.etag ?? null, each.after?.etag ?? null]));
        after = page.next;
        if (after === null) break;
      }
      const keys = [...new Set([...a.was.keys(), ...b.was.keys()])].toSorted();
      const expected = keys
        .filter((key) => a.was.get(key) !== b.was.get(key))
        .map((key) => [key, a.was.get(key) ?? null, b.was.get(key) ?? null]);
      expect(found, `${a.number}..${b.number}`).toEqual(expected);
    }
    const { objects } = await env.SYSTEM.list({ prefix: `datasets/${id}/` });
    expect(objects.filter(({ key }) => key.includes("/runs/"))).toEqual([]);
    await runInDurableObject(stub, (_, { storage }) => {
      const left = storage.sql
        .exec("SELECT DISTINCT version FROM shadow UNION SELECT version FROM version_run")
        .toArray();
      expect(left).toEqual([{ version: sealed.at(-1)?.number }]);
    });
  });

  it("is one for two who ask at once, and for who asks when nothing has changed", async () => {
    const { id, stub, begin, finish, seal } = await sealable();
    must(await stub.applyRows(id, [givenRow("a")]));
    const [one, two] = await Promise.all([begin({ aliases: ["one"] }), begin({ aliases: ["two"] })]);
    expect([one.version.number, two.version.number, one.created, two.created]).toEqual([1, 1, true, false]);
    expect((await finish(1)).aliases).toEqual(["one", "two"]);
    expect((await seal({ aliases: ["three"] })).number).toBe(1);
    expect(must(await stub.version({ kind: "alias", alias: "three" })).info.number).toBe(1);
    must(await stub.applyRows(id, [givenRow("b")]));
    expect((await seal()).number).toBe(2);
  });
});

describe("a sealing", () => {
  const etag = (n: number) => n.toString(16).padStart(32, "0");
  const write = async (stub: DatasetStub, id: string, key: string, value: string) => {
    const row = givenRow(key, { etag: value });
    const { questions } = must(await stub.applyRows(id, [row]));
    must(
      await stub.answerRows(
        id,
        questions.map((question) => ({ ...question, row })),
      ),
    );
  };

  it("that cannot succeed fails, and the next version knows what has changed since the one before it", async () => {
    const { id, stub, seal, begin, finish } = await sealable();
    for (const key of ["a", "b", "c"]) await write(stub, id, key, etag(1));
    await seal();
    await write(stub, id, "b", etag(2));
    // An ETag that R2 does not give, and that no index has room for.
    await write(stub, id, "bad", "x".repeat(17));
    const { version } = await begin({ aliases: ["never"] });
    await write(stub, id, "a", etag(3));
    const failed = await finish(version.number);
    expect(failed).toMatchObject({ number: 2, state: "failed", problem: expect.stringContaining('"bad"') });
    expect(await stub.version({ kind: "alias", alias: "never" })).toMatchObject({ ok: false });
    await takeOut(stub, id, ["bad"]);
    expect(await seal()).toMatchObject({ number: 3, state: "sealed", parent: 1, objects: 3 });
    const { files } = must(await stub.version({ kind: "number", number: 3 }));
    const { changes } = must(await pageOfChanges(env, [files], null, 10));
    expect(changes.map((each) => [each.key, each.before?.etag, each.after?.etag])).toEqual([
      ["a", etag(1), etag(3)],
      ["b", etag(1), etag(2)],
    ]);
    const { objects } = await env.SYSTEM.list({ prefix: `datasets/${id}/versions/2/` });
    expect(objects).toEqual([]);
  });

  it("of which a step throws again and again fails, too, and keeps no alarm busy", async () => {
    const { id, stub, begin } = await sealable();
    await write(stub, id, "a", etag(1));
    const { version } = await begin();
    const tries = await runInDurableObject(stub, async (object, { storage }) => {
      await storage.deleteAlarm();
      const config = must(await object.config());
      const versions = new Versions(storage.sql);
      const broken = () =>
        ok({
          system: new Proxy(createR2Store(env.SYSTEM), { get: () => undefined }),
          data: createR2Store(env.DATASETS),
        });
      const sealing = new Sealing(versions, storage, () => config, broken);
      for (let n = 1; ; n++) {
        await sealing.run();
        const { state, retryAt } = versions.get(version.number) ?? {};
        if (state === "failed") return n;
        expect(retryAt).toBeGreaterThan(Date.now());
      }
    });
    expect(tries).toBe(6);
  });

  it("of an older state refuses who would seal what came since; and gives its number to who asks for the same", async () => {
    const { id, stub, begin, finish } = await sealable();
    await write(stub, id, "a", etag(1));
    await begin();
    await write(stub, id, "b", etag(2));
    const refusedSeal = await stub.seal(id, { note: "", aliases: ["release"] });
    expect(refusedSeal).toMatchObject({ ok: false, failure: { code: "version-sealing" } });
    await finish(1);
    expect((await begin({ aliases: ["release"] })).version.number).toBe(2);
    expect(await finish(2)).toMatchObject({ objects: 2, aliases: ["release"] });
  });

  it("waits for a bucket that fails, and goes on where it was", async () => {
    const { id, stub, begin, finish } = await sealable();
    await write(stub, id, "a", etag(1));
    const { version } = await begin();
    await runInDurableObject(stub, async (object, { storage }) => {
      const config = must(await object.config());
      const down = async () => ({ ok: false as const, failure: failure("store-unavailable") });
      const stores = () =>
        ok({ system: { ...createR2Store(env.SYSTEM), put: down }, data: createR2Store(env.DATASETS) });
      const versions = new Versions(storage.sql);
      for (let n = 0; n < 20; n++) await new Sealing(versions, storage, () => config, stores).run();
      expect(versions.get(version.number)).toMatchObject({ state: "sealing", tries: 20 });
      storage.sql.exec("UPDATE version SET retry_at = 0");
    });
    expect(await finish(version.number)).toMatchObject({ state: "sealed", objects: 1 });
  });
});

describe("the rows of a version are listed", () => {
  it("by prefix, filter and folder, in pages of any size, as the live manifest's are", async () => {
    const { id, stub } = await sealable();
    const keys = ["a", "a/", "a/b", "a/b/c", "a/é", "b/1", "b/2", "c", "raw/x/1", "raw/x/2", "raw/y/1", "😀/z"];
    const said = {
      origin: "s3://from/there/",
      tags: { a: "b" },
      sha256: "ab",
      sourceModifiedAt: 5,
      proof: "md5" as const,
    };
    must(
      await stub.applyRows(
        id,
        keys.map((key, n) => givenRow(key, { size: n, ...said })),
      ),
    );
    const number = await sealInSteps(stub, id, async () => undefined);
    const queries: Partial<ManifestQuery>[] = [
      ...[
        {},
        { prefix: "a/" },
        { prefix: "b" },
        { prefix: "zz" },
        { delimiter: "/" },
        { prefix: "raw/", delimiter: "/" },
      ],
      ...[{ stage: "raw" as const }, { category: "x" }, { suffix: "1" }, { minSize: 3, maxSize: 5 }],
      ...[{ prefix: "a/", delimiter: "/" }, { modifiedSince: 6 }, { prefix: "a", delimiter: "/" }],
    ];
    for (const some of queries) {
      const query = { ...EVERYTHING, ...some };
      const live = await all(async (after, most) => must(await stub.query(query, after, most)), 1000);
      for (const limit of [1, 2, 100]) {
        const listed = await listVersion(stub, number, query, limit);
        expect(live, JSON.stringify(some)).toMatchObject(listed);
        expect(listed.rows).toHaveLength(live.rows.length);
      }
    }
  });

  it("by no other order than their keys', and not by what changed", async () => {
    const { id, stub, seal } = await sealable();
    must(await stub.applyRows(id, [givenRow("a")]));
    const { number, seq } = await seal();
    const { files } = must(await stub.version({ kind: "number", number }));
    for (const [field, some] of [
      ["sort", { sort: "changed" }],
      ["changedSince", { changedSince: 1 }],
    ] as const) {
      const page = await pageOfVersion(env, { seq, files }, { ...EVERYTHING, ...some }, null, 10);
      expect(page).toMatchObject({ ok: false, failure: { code: "invalid-query", field } });
    }
  });
});

it(
  "An index of several parts, made from several runs, finds every key and no other",
  { timeout: 300_000 },
  async () => {
    const { id, name, stub, seal } = await sealable();
    const many = 160_000;
    must(await stub.applyRows(id, [givenRow("first")]));
    await runInDurableObject(stub, (_, { storage }) => {
      storage.sql.exec(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
         INSERT INTO object (key, size, etag, uploaded_at, writer, placed, updated_at, seq)
         SELECT printf('c/%d', i), i, printf('%032x', i), 0, 'mig', 0, 0, 1 FROM n`,
        many,
      );
      storage.sql.exec("UPDATE total SET objects = objects + ?", many);
    });
    const { number } = await seal();
    const { index } = must(await stub.version({ kind: "number", number }));
    expect(index?.pages).toBeGreaterThan(128);
    const resolver = must(await findSealed(env, { id, name }, String(number)));
    for (let i = 1; i <= many; i += 1009) {
      expect(await resolver.resolve(`c/${i}`)).toEqual(ok({ size: i, etag: i.toString(16).padStart(32, "0") }));
      expect(await resolver.resolve(`c/x${i}`)).toMatchObject({ ok: false, failure: { code: "object-not-found" } });
    }
  },
);

describe("a file of a version that is not what was sealed", () => {
  it.each([
    ["is missing", async (key: string) => env.SYSTEM.delete(key)],
    ["was altered", async (key: string) => void (await env.SYSTEM.put(key, "something else"))],
  ])("is said to be damaged, and nothing of it is believed, when it %s", async (_, harm) => {
    const { id, name, stub, seal } = await sealable();
    must(await stub.applyRows(id, [givenRow("a")]));
    const { number, seq } = await seal();
    const { files, index } = must(await stub.version({ kind: "number", number }));
    for (const key of [files[0]?.key ?? "", index?.key ?? ""]) await harm(key);
    const resolver = must(await findSealed(env, { id, name }, String(number)));
    const damaged = { ok: false, failure: { code: "version-damaged" } };
    expect(await resolver.resolve("a")).toMatchObject(damaged);
    expect(await pageOfVersion(env, { seq, files }, EVERYTHING, null, 10)).toMatchObject(damaged);
  });

  it.each(["error", "end"] as const)("is not what R2 breaks off by an %s: that passes", async (how) => {
    const { id, name, stub, seal } = await sealable();
    must(await stub.applyRows(id, [givenRow("a")]));
    const { number, seq } = await seal();
    const { files } = must(await stub.version({ kind: "number", number }));
    const { bucket } = watchBucket(
      {
        async get(_, answer) {
          const got = await answer();
          return got === null || !("body" in got) ? got : withBody(got, (body) => brokenOff(body, 3, how));
        },
      },
      env.SYSTEM,
    );
    const broken = { ...env, SYSTEM: bucket };
    const unavailable = { ok: false, failure: { code: "store-unavailable" } };
    expect(await pageOfVersion(broken, { seq, files }, EVERYTHING, null, 10)).toMatchObject(unavailable);
    const resolver = must(await findSealed(broken, { id, name }, String(number)));
    expect(await resolver.resolve("a")).toMatchObject(unavailable);
    expect(must(await pageOfVersion(env, { seq, files }, EVERYTHING, null, 10)).rows).toHaveLength(1);
  });
});
