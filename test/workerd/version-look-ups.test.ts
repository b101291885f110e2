import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { beforeAll, describe, expect, it } from "vitest";
import { sealedKeysOf } from "../../workers/adapters/sealed-keys.ts";
import { findSealed } from "../../workers/adapters/sealed-versions.ts";
import { givenRow } from "../harness/rows.ts";
import { must } from "./harness/run.ts";
import { sealable } from "./harness/sealed.ts";

const ROWS = 60_000;
/** Of 1,150 rows each. */
const PAGES = 53;

const etagOf = (n: number) => n.toString(16).padStart(32, "0");

/** A dataset of `c/1` to `c/60000`. */
async function large() {
  const dataset = await sealable();
  must(await dataset.stub.applyRows(dataset.id, [givenRow("first")]));
  await runInDurableObject(dataset.stub, (_, { storage }) => {
    storage.sql.exec(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
       INSERT INTO object (key, size, etag, uploaded_at, writer, placed, updated_at, seq)
       SELECT printf('c/%d', i), i, printf('%032x', i), 0, 'mig', 0, 0, 1 FROM n`,
      ROWS,
    );
    storage.sql.exec("UPDATE total SET objects = objects + ?", ROWS);
  });
  return dataset;
}

/** The environment, and how often a file was read in its SYSTEM bucket. */
function watched(answer: (object: R2ObjectBody) => R2ObjectBody = (object) => object) {
  const seen = { reads: 0 };
  const get = async (key: string, options: R2GetOptions) => {
    seen.reads++;
    const object = await env.SYSTEM.get(key, options);
    return object !== null && "body" in object ? answer(object) : object;
  };
  return { seen, of: { ...env, SYSTEM: { get } as unknown as R2Bucket } };
}

let sealed: Awaited<ReturnType<typeof large>>;
beforeAll(async () => {
  sealed = await large();
  expect(await sealed.seal()).toMatchObject({ state: "sealed", objects: ROWS + 1 });
});

describe("many keys of a version that are looked up at once", { timeout: 120_000 }, () => {
  const open = async (of: Env) => must(await findSealed(of, sealed, "1"));
  // Every second one is not there; in no order.
  const keys = Array.from({ length: 2000 }, (_, n) => (n % 2 === 0 ? `c/${((n * 7919) % ROWS) + 1}` : `c/x${n}`));
  const expected = keys.map((key) => {
    const n = Number(key.slice(2));
    return Number.isNaN(n) ? null : { size: n, etag: etagOf(n) };
  });
  const most = (requests: number, pages: number) => ({ most: { requests, pages } });

  it("are found by reading each page once: pages beside one another by one read", async () => {
    const { of, seen } = watched();
    expect(must(await (await open(of)).resolveMany(keys))).toEqual(expected);
    expect(seen.reads).toBe(1);
  });

  it("are found within the reads that it may take, by reading what lies between", async () => {
    const few = keys.slice(0, 60);
    for (const requests of [1, 3, 8]) {
      const { of, seen } = watched();
      const found = await (await open(of)).resolveMany(few, most(requests, PAGES));
      expect(must(found)).toEqual(expected.slice(0, 60));
      expect(seen.reads).toBeLessThanOrEqual(requests);
    }
  });

  it("are refused where that is too many pages, or no read at all, before anything is read", async () => {
    const { of, seen } = watched();
    const resolver = await open(of);
    for (const [requests, pages] of [
      [1, 10],
      [0, 1000],
    ] as const) {
      const refused = await resolver.resolveMany(keys, most(requests, pages));
      expect(refused).toMatchObject({ ok: false, failure: { code: "too-many-keys" } });
    }
    expect(seen.reads).toBe(0);
  });

  it("are not believed where R2 breaks off, or the index is another", async () => {
    const cut = (object: R2ObjectBody) => {
      let left = 200_000;
      const begin = new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          controller.enqueue(chunk.subarray(0, left));
          left -= Math.min(left, chunk.length);
        },
      });
      const { size, etag, range, uploaded } = object;
      const said = { size, etag, range, uploaded, checksums: object.checksums, customMetadata: {}, httpMetadata: {} };
      return { ...said, body: object.body.pipeThrough(begin) } as unknown as R2ObjectBody;
    };
    const broken = await (await open(watched(cut).of)).resolveMany(keys);
    expect(broken).toMatchObject({ ok: false, failure: { code: "store-unavailable" } });
    const gone = { ...env, SYSTEM: { get: async () => null } as unknown as R2Bucket };
    const damaged = await (await open(gone)).resolveMany(keys);
    expect(damaged).toMatchObject({ ok: false, failure: { code: "version-damaged" } });
  });

  it("are kept by the isolate where they are on few pages: asked again, they cost no read", async () => {
    const few = keys.slice(0, 10);
    const first = watched();
    expect(must(await (await open(first.of)).resolveMany(few))).toEqual(expected.slice(0, 10));
    expect(first.seen.reads).toBeGreaterThan(0);
    expect(first.seen.reads).toBeLessThanOrEqual(10);
    const again = watched();
    expect(must(await (await open(again.of)).resolveMany(few.toReversed()))).toEqual(
      expected.slice(0, 10).toReversed(),
    );
    expect(again.seen.reads).toBe(0);
  });
});

describe("what older versions hold of a batch that is to be deleted", { timeout: 240_000 }, () => {
  /** Five versions before the last one; `c/1` to `c/20` were changed between the second and the third. */
  let dataset: Awaited<ReturnType<typeof large>>;
  const objects = Array.from({ length: 400 }, (_, n) => ({ key: `c/${n + 1}`, etag: `new-${n}` }));
  const askedOf = (most?: { requests: number; pages: number }) => {
    const { of, seen } = watched();
    const batch = objects.map(({ key, etag }, n) => (n < 20 ? { key, etag: etagOf(n + 1) } : { key, etag }));
    return { seen, answer: sealedKeysOf(of, most)(dataset, batch) };
  };

  beforeAll(async () => {
    dataset = await large();
    const { id, stub, seal } = dataset;
    const put = async (etagAt: (n: number) => string, count: number) => {
      const rows = objects.slice(0, count).map(({ key }, n) => givenRow(key, { etag: etagAt(n), size: 1 }));
      const { questions } = must(await stub.applyRows(id, rows));
      const rowOf = new Map(rows.map((row) => [row.key, row]));
      const answers = questions.map((question) => ({ ...question, row: rowOf.get(question.key) ?? null }));
      must(await stub.answerRows(id, answers));
    };
    for (let version = 1; version <= 6; version++) {
      if (version === 3) await put((n) => `between-${n}`, 20);
      else must(await stub.applyRows(id, [givenRow(`extra-${version}`)]));
      expect((await seal()).number).toBe(version);
    }
    await put((n) => `new-${n}`, 400);
  });

  it("is found in few reads, however many keys and versions there are", async () => {
    const { seen, answer } = askedOf();
    expect([...must(await answer)]).toEqual(objects.slice(0, 20).map(({ key }) => key));
    expect(seen.reads).toBeLessThanOrEqual(5 * PAGES);
  });

  it("is found with one read a version, where no more is to be had", async () => {
    const { seen, answer } = askedOf({ requests: 5, pages: 5 * PAGES });
    expect(must(await answer).size).toBe(20);
    expect(seen.reads).toBeLessThanOrEqual(5);
  });

  it.each([
    { requests: 4, pages: 5 * PAGES },
    { requests: 5, pages: PAGES },
  ])(
    "is not guessed where $requests reads and $pages pages are not enough: it fails, and says what to do",
    async (most) => {
      const refused = await askedOf(most).answer;
      expect(refused).toMatchObject({ ok: false, failure: { code: "too-many-keys", field: "deleteSealed" } });
    },
  );
});
