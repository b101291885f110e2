import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import type { Proof } from "../../workers/core/manifest/row.ts";
import { givenRow } from "../harness/rows.ts";
import { must } from "./harness/run.ts";
import { EVERYTHING, type Position } from "../../workers/core/manifest/query.ts";

const ID = "ds_01";
const ROWS = 5000;
const dataset = datasetOf(env, "rows");
const row = (key: string, size: number, proof: Proof | null, etag = "e") => givenRow(key, { size, proof, etag });

async function summary() {
  const described = await dataset.describe();
  if (!described.ok) throw new Error(described.failure.detail);
  const { objects, bytes, proofs } = described.value.summary;
  return { objects, bytes, proofs };
}

beforeAll(async () => {
  await dataset.configure({
    ...{ id: ID, name: "rows", kind: "files", bucket: "DATASETS", prefix: "rows/", read: "r2" },
    ...{ schedule: null, liveTtlSeconds: 10, createdAt: "", updatedAt: "" },
  });
});

describe("the live manifest", () => {
  it("counts each object once, by its present proof and size, however often its row arrives", async () => {
    await dataset.applyRows(ID, [row("a", 10, "md5"), row("b", 20, "md5"), row("c", 5, null)]);
    await dataset.applyRows(ID, [row("a", 10, "md5")]);
    expect(await summary()).toEqual({ objects: 3, bytes: 35, proofs: { md5: 2 } });
    const { questions } = must(await dataset.applyRows(ID, [row("a", 11, "etag", "f")]));
    must(
      await dataset.answerRows(
        ID,
        questions.map((question) => ({ ...question, row: row("a", 11, "etag", "f") })),
      ),
    );
    expect(await summary()).toEqual({ objects: 3, bytes: 36, proofs: { etag: 1, md5: 1 } });
  });

  it("writes no row of another object than it has before R2 has said which of them is there", async () => {
    const applied = must(await dataset.applyRows(ID, [row("a", 99, "size", "g"), row("b", 20, "md5")]));
    expect(applied).toMatchObject({ written: 0, questions: [{ key: "a", generation: expect.any(Number) as number }] });
    expect(await summary()).toEqual({ objects: 3, bytes: 36, proofs: { etag: 1, md5: 1 } });
    const seen = applied.questions.map((question) => ({ ...question, row: row("a", 11, null, "f") }));
    expect(must(await dataset.answerRows(ID, seen))).toMatchObject({ added: 0, changed: 0, removed: 0, questions: [] });
    expect(await summary()).toEqual({ objects: 3, bytes: 36, proofs: { etag: 1, md5: 1 } });
  });

  it("is described at the same cost however many categories there are, and keeps none that has no object", async () => {
    const many = datasetOf(env, "categories");
    await many.configure({
      ...{ id: ID, name: "categories", kind: "files", bucket: "DATASETS", prefix: "categories/", read: "r2" },
      ...{ schedule: null, liveTtlSeconds: 10, createdAt: "", updatedAt: "" },
    });
    const rows = Array.from({ length: 300 }, (_, n) => row(`raw/c${n}/a`, 2, "md5"));
    must(await many.applyRows(ID, rows));
    /** Rows that these calls read. */
    const readBy = (work: (object: typeof many) => Promise<unknown>) =>
      runInDurableObject(many, async (object, { storage }) => {
        const exec = vi.spyOn(storage.sql, "exec");
        await work(object as unknown as typeof many);
        const cursors = exec.mock.results.map(
          ({ value }) => value as SqlStorageCursor<Record<string, SqlStorageValue>>,
        );
        exec.mockRestore();
        return cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
      });
    expect(must(await many.describe()).summary.stages).toEqual([{ stage: "raw", objects: 300, bytes: 600 }]);
    expect(await readBy((object) => object.describe())).toBeLessThan(20);
    expect(must(await many.countsByStage("c7"))).toEqual([{ stage: "raw", objects: 1, bytes: 2 }]);
    expect(await readBy((object) => object.countsByStage("c7"))).toBeLessThan(10);
    const removal = async (object: typeof many) => {
      const { questions } = must(await object.hint(ID, [{ key: "raw/c7/a", etag: null }]));
      must(
        await object.answerRows(
          ID,
          questions.map((question) => ({ ...question, row: null })),
        ),
      );
    };
    expect(await readBy(removal)).toBeLessThan(100);
    expect(must(await many.countsByStage("c7"))).toEqual([]);
    await runInDurableObject(many, (_, { storage }) => {
      expect(storage.sql.exec("SELECT 1 FROM category_total").toArray()).toHaveLength(299);
    });
  });

  it("takes no row for another dataset of the same name", async () => {
    expect(await dataset.applyRows("ds_02", [row("d", 1, "md5")])).toEqual({
      ok: true,
      value: { written: 0, questions: [], refused: null },
    });
    expect((await summary()).objects).toBe(3);
  });

  it("pages under a prefix to its end and no further, and a page costs the same wherever it is", async () => {
    const keys = Array.from({ length: ROWS }, (_, i) => `p/${String(i).padStart(5, "0")}`);
    await dataset.applyRows(
      ID,
      [...keys, "p0", "p."].map((key) => row(key, 1, "md5")),
    );
    const seen: string[] = [];
    const query = { ...EVERYTHING, prefix: "p/" };
    for (let after: Position | null = null; ;) {
      const page = await dataset.query(query, after, 999);
      if (!page.ok) throw new Error(page.failure.detail);
      seen.push(...page.value.rows.map(({ key }) => key));
      after = page.value.next;
      if (after === null) break;
    }
    expect(seen).toEqual(keys);
    // Counted in the object itself, by the query that it runs.
    const read = await runInDurableObject(dataset, async (object, { storage }) => {
      const exec = vi.spyOn(storage.sql, "exec");
      await object.query(query, { key: "p/04000", seq: 0 }, 2);
      const cursors = exec.mock.results.map(({ value }) => value as SqlStorageCursor<Record<string, SqlStorageValue>>);
      exec.mockRestore();
      return cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
    });
    expect(read).toBeGreaterThan(0);
    expect(read).toBeLessThan(10);
  });
});
