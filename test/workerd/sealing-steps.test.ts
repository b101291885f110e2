import { env } from "cloudflare:workers";
import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Pieces } from "../../durable-objects/dataset/pieces.ts";
import { Sealing } from "../../durable-objects/dataset/sealing.ts";
import { Shadow } from "../../durable-objects/dataset/shadow.ts";
import { type KeptVersion, Versions } from "../../durable-objects/dataset/versions.ts";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { failure } from "../../workers/core/failure.ts";
import { versionFolder } from "../../workers/core/manifest/version.ts";
import { fail, ok } from "../../workers/core/result.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";
import { givenRow } from "../harness/rows.ts";
import { must } from "./harness/run.ts";
import { type DatasetStub, sealable } from "./harness/sealed.ts";
import { takeOut } from "./harness/take-out.ts";

beforeEach(() => {
  for (const method of ["log", "warn", "error"] as const) vi.spyOn(console, method).mockReturnValue(undefined);
});

const etag = (n: number) => n.toString(16).padStart(32, "0");
const system = () => createR2Store(env.SYSTEM);
const data = () => createR2Store(env.DATASETS);

/** Has the steps of a version done here, until it stands at one that `isThere`; at most some hundred. */
async function stepUntil(
  stub: DatasetStub,
  number: number,
  isThere: (version: KeptVersion) => boolean,
  stores: { system: ObjectStore; data: ObjectStore } = { system: system(), data: data() },
): Promise<KeptVersion> {
  return runInDurableObject(stub, async (object, { storage }) => {
    await storage.deleteAlarm();
    const config = must(await object.config());
    const versions = new Versions(storage.sql);
    const sealing = new Sealing(
      versions,
      storage,
      () => config,
      () => ok(stores),
      { fileRows: 40, groupRows: 7 },
    );
    for (let n = 0; n < 200; n++) {
      const version = versions.get(number);
      if (version !== null && isThere(version)) return version;
      storage.sql.exec("UPDATE version SET retry_at = 0");
      await sealing.run();
    }
    throw new Error("The version never came there.");
  });
}

const keysIn = async (folder: string) => (await env.SYSTEM.list({ prefix: folder })).objects.map(({ key }) => key);

/** Rows `raw/c/0000001` and on, written as their table is. */
async function fill(stub: DatasetStub, id: string, rows: number): Promise<void> {
  must(await stub.applyRows(id, [givenRow("first", { etag: etag(0) })]));
  await runInDurableObject(stub, (_, { storage }) => {
    storage.sql.exec(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
         INSERT INTO object (key, size, etag, uploaded_at, writer, placed, updated_at, seq)
         SELECT printf('raw/c/%07d', i), i, printf('%032x', i), 0, 'mig', 0, 0, 1 FROM n`,
      rows,
    );
    storage.sql.exec("UPDATE total SET objects = objects + ?", rows);
  });
}

describe("a step of a sealing", () => {
  it("reads at most some thousand metadata documents, and the version says what was left out", async () => {
    const { id, stub, begin } = await sealable({ kind: "zarr" });
    must(
      await stub.applyRows(id, [givenRow("a/.zgroup", { etag: etag(1) }), givenRow("b/.zgroup", { etag: etag(2) })]),
    );
    const { number } = (await begin()).version;
    await stepUntil(stub, number, ({ step }) => step?.do === "derive");
    await runInDurableObject(stub, (_, { storage }) => {
      const arrays = (root: string, count: number) =>
        Array.from({ length: count }, (__, n) => ({ key: `${root}/${n}/.zarray`, size: 20, etag: etag(n) }));
      storage.transactionSync(() =>
        new Pieces(storage.sql).addNodes(number, [...arrays("a", 100), ...arrays("b", 12_000)]),
      );
    });
    let gets = 0;
    const documents: ObjectStore = {
      ...data(),
      get: async () => {
        // What the platform does, and its simulator does not.
        if (++gets > 10_000)
          return fail(failure("store-unavailable", "Too many API requests by single Worker invocation."));
        const body = new Response('{"zarr_format":2}').body;
        return ok({ body } as never);
      },
    };
    const isSealed = ({ state }: KeptVersion) => state !== "sealing";
    const version = await stepUntil(stub, number, isSealed, { system: system(), data: documents });
    expect(version).toMatchObject({ state: "sealed", derived: [{ key: "a/.zmetadata" }] });
    expect(version.warnings).toEqual([expect.stringMatching(/^"b\/": .*5000/)]);
  });

  it("looks at no more rows for all that have changed since the version was begun", async () => {
    const { id, stub, begin } = await sealable();
    await fill(stub, id, 5000);
    const { number, seq } = (await begin()).version;
    await runInDurableObject(stub, async (_, { storage }) => {
      await storage.deleteAlarm();
      const { sql } = storage;
      // As new rules do it while it is sealed: each row was moved on, and is kept as it was.
      sql.exec("INSERT INTO shadow SELECT ? AS version, * FROM object", number);
      sql.exec("UPDATE object SET seq = ?", seq + 1);
    });
    const { most, rows } = await runInDurableObject(stub, (_, { storage }) => {
      const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
      const exec = (query: string, ...bindings: unknown[]) => {
        const cursor = storage.sql.exec(query, ...bindings);
        cursors.push(cursor);
        return cursor;
      };
      const shadow = new Shadow({ exec } as unknown as SqlStorage);
      let [most_, rows_, after] = [0, 0, null as string | null];
      do {
        const next = shadow.next({ number, seq }, null, after, 100);
        most_ = Math.max(
          most_,
          cursors.splice(0).reduce((sum, { rowsRead }) => sum + rowsRead, 0),
        );
        rows_ += next.rows.length;
        after = next.upTo;
      } while (after !== null);
      return { most: most_, rows: rows_ };
    });
    expect(rows).toBe(5001);
    expect(most).toBeLessThan(1500);
  });

  it("holds rows by all of their text, whatever it is", async () => {
    const { id, stub, begin } = await sealable();
    const contentEncoding = "gzip, ".repeat(1300);
    for (let n = 0; n < 1000; n += 250) {
      const some = Array.from({ length: 250 }, (_, i) => givenRow(`k${n + i}`, { etag: etag(n + i), contentEncoding }));
      must(await stub.applyRows(id, some));
    }
    const { number, seq } = (await begin()).version;
    const [rows, upTo] = await runInDurableObject(stub, (_, { storage }) => {
      const next = new Shadow(storage.sql).next({ number, seq }, null, null, 25_000);
      return [next.rows.length, next.upTo];
    });
    expect(rows * contentEncoding.length).toBeLessThan(4_100_000);
    expect(upTo).not.toBeNull();
  });

  it("never writes over what another attempt has put, and puts anew what that cut elsewhere", async () => {
    const { id, stub, begin } = await sealable();
    must(await stub.applyRows(id, [givenRow("a", { etag: etag(1) })]));
    const { number } = (await begin()).version;
    const file = `${versionFolder(id, number)}manifest-0001.parquet`;
    await env.SYSTEM.put(file, "of an attempt that was cut elsewhere");
    // Its answer is lost once more: then these bytes are there already, and are as good.
    let lost = 0;
    const puts: ObjectStore = {
      ...system(),
      async put(...args) {
        const put = await system().put(...args);
        return put.ok && args[0] === file && lost++ === 0 ? fail(failure("store-unavailable")) : put;
      },
    };
    const isSealed = ({ state }: KeptVersion) => state === "sealed";
    await stepUntil(stub, number, isSealed, { system: puts, data: data() });
    const { files } = must(await stub.version({ kind: "number", number }));
    expect((await env.SYSTEM.head(file))?.etag).toBe(files[0]?.etag);
    expect(lost).toBe(1);
  });

  it("that is done again, and cut elsewhere for what came before its rows, leaves one file of them", async () => {
    const { id, stub, begin } = await sealable();
    must(
      await stub.applyRows(
        id,
        ["m1", "m2"].map((key, n) => givenRow(key, { etag: etag(n) })),
      ),
    );
    const { number } = (await begin()).version;
    let puts = 0;
    const lost: ObjectStore = {
      ...system(),
      async put(...args) {
        const put = await system().put(...args);
        return ++puts === 1 ? fail(failure("store-unavailable")) : put;
      },
    };
    await stepUntil(stub, number, ({ tries }) => tries === 1, { system: lost, data: data() });
    // More than a step looks at: its next attempt finds no row of the version.
    const many = Array.from({ length: 200 }, (_, n) => givenRow(`a${String(n).padStart(3, "0")}`, { etag: etag(n) }));
    must(await stub.applyRows(id, many));
    await stepUntil(stub, number, ({ step }) => step?.do === "index");
    // A put that comes late, when all is made.
    const folder = versionFolder(id, number);
    await env.SYSTEM.put(`${folder}manifest-0009.parquet`, "of an attempt before");
    await stepUntil(stub, number, ({ state }) => state === "sealed");
    const { files } = must(await stub.version({ kind: "number", number }));
    expect(files.map(({ key, rows }) => [key, rows])).toEqual([[`${folder}manifest-0001.parquet`, 2]]);
    expect(await keysIn(`${folder}manifest-`)).toEqual(files.map(({ key }) => key));
  });

  it("that had to be tried again leaves no problem behind", async () => {
    const { id, stub, begin } = await sealable();
    must(await stub.applyRows(id, [givenRow("a", { etag: etag(1) })]));
    const { number } = (await begin()).version;
    let refused = 0;
    const deletes: ObjectStore = {
      ...system(),
      delete: async (key) => (refused++ === 0 ? fail(failure("store-unavailable", "lost")) : system().delete(key)),
    };
    const version = await stepUntil(stub, number, ({ step }) => step === null, { system: deletes, data: data() });
    expect([refused, version.state, version.problem]).toEqual([2, "sealed", null]);
  });
});

describe("a version", () => {
  it("that could not be sealed leaves nothing in the bucket", async () => {
    const { id, stub, begin } = await sealable();
    await fill(stub, id, 100);
    const { number } = (await begin()).version;
    const folder = versionFolder(id, number);
    await stepUntil(stub, number, ({ step }) => step?.do === "publish");
    expect((await keysIn(folder)).length).toBeGreaterThan(5);
    const never: ObjectStore = { ...system(), put: async () => fail(failure("internal", "It cannot be.")) };
    const version = await stepUntil(stub, number, ({ step }) => step === null, { system: never, data: data() });
    expect([version.state, version.problem, await keysIn(folder)]).toEqual(["failed", "It cannot be.", []]);
  });

  it("fails where something made for it is not there any more when all is made", async () => {
    for (const lost of ["manifest-0001.parquet", "index.bin"]) {
      const { id, stub, begin } = await sealable();
      must(await stub.applyRows(id, [givenRow("a", { etag: etag(1) })]));
      const { number } = (await begin()).version;
      await stepUntil(stub, number, ({ step }) => step?.do === "publish");
      const key = `${versionFolder(id, number)}${lost}`;
      await env.SYSTEM.put(key, "something else");
      const version = await stepUntil(stub, number, ({ state }) => state !== "sealing");
      expect([version.state, version.problem]).toEqual(["failed", `"${key}" is not as it was written.`]);
    }
  });

  it("of nothing has a file of no rows, also where more went since the one before it than a file holds", async () => {
    const { id, stub, begin } = await sealable();
    const keys = Array.from({ length: 90 }, (_, n) => `k${String(n).padStart(3, "0")}`);
    must(
      await stub.applyRows(
        id,
        keys.map((key, n) => givenRow(key, { etag: etag(n) })),
      ),
    );
    const isSealed = ({ state }: KeptVersion) => state === "sealed";
    await stepUntil(stub, (await begin()).version.number, isSealed);
    await takeOut(stub, id, keys);
    const { number } = (await begin()).version;
    await stepUntil(stub, number, isSealed);
    const { files } = must(await stub.version({ kind: "number", number }));
    expect(files.map(({ kind, rows }) => [kind, rows])).toEqual([
      ...[40, 40, 10].map((rows) => ["changes", rows]),
      ["manifest", 0],
    ]);
  });

  it("goes on when somebody is told to wait for it, though the object was killed before it was to", async () => {
    const { id, stub, begin } = await sealable();
    must(await stub.applyRows(id, [givenRow("a", { etag: etag(1) })]));
    await begin();
    await runInDurableObject(stub, (_, { storage }) => storage.deleteAlarm());
    await evictDurableObject(stub);
    must(await stub.applyRows(id, [givenRow("b", { etag: etag(2) })]));
    const refused = await stub.seal(id, { note: "", aliases: [] });
    expect(refused).toMatchObject({ ok: false, failure: { code: "version-sealing" } });
    expect(await runInDurableObject(stub, (_, { storage }) => storage.getAlarm())).not.toBeNull();
  });

  it("is not begun while rows are held against new rules", async () => {
    const { id, stub, seal } = await sealable();
    await fill(stub, id, 1500);
    must(await stub.patch({ places: [{ pattern: "raw/...", stage: "raw" }] }));
    await runInDurableObject(stub, (_, { storage }) => storage.deleteAlarm());
    const refused = await stub.seal(id, { note: "", aliases: [] });
    expect(refused).toMatchObject({ ok: false, failure: { code: "version-sealing" } });
    await vi.waitFor(async () => expect((await stub.seal(id, { note: "", aliases: [] })).ok).toBe(true), 60_000);
    expect((await seal()).stages.raw?.objects).toBe(1500);
  });
});
