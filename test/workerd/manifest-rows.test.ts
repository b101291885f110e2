import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";

const ID = "ds_01";
const ROWS = 5000;
const dataset = datasetOf(env, "rows");
const row = (key: string, size: number, proof: Proof | null, uploadedAt = 1000, etag = "e"): Row & Place => ({
  ...{ key, size, etag, uploadedAt, contentType: null, proof, sourceEtag: null, sourceModifiedAt: null },
  ...{ writer: "mig_01", stage: null, category: null },
});
type Place = { stage: string | null; category: string | null };

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
    await dataset.applyRows(ID, [row("a", 11, "etag", 2000, "f")]);
    expect(await summary()).toEqual({ objects: 3, bytes: 36, proofs: { etag: 1, md5: 1 } });
  });

  it("drops a row that is older than the one it has", async () => {
    await dataset.applyRows(ID, [row("a", 99, "size", 1500, "g")]);
    expect(await summary()).toEqual({ objects: 3, bytes: 36, proofs: { etag: 1, md5: 1 } });
  });

  it("takes no row for another dataset of the same name", async () => {
    expect(await dataset.applyRows("ds_02", [row("d", 1, "md5")])).toEqual({ ok: true, value: 0 });
    expect((await summary()).objects).toBe(3);
  });

  it("pages under a prefix to its end and no further, and a page costs the same wherever it is", async () => {
    const keys = Array.from({ length: ROWS }, (_, i) => `p/${String(i).padStart(5, "0")}`);
    await dataset.applyRows(
      ID,
      [...keys, "p0", "p."].map((key) => row(key, 1, "md5")),
    );
    const seen: string[] = [];
    for (let after: string | null = null; ;) {
      const page = await dataset.page("p/", after, 999);
      if (!page.ok) throw new Error(page.failure.detail);
      seen.push(...page.value.rows.map(({ key }) => key));
      after = page.value.next;
      if (after === null) break;
    }
    expect(seen).toEqual(keys);
    // Counted in the object itself, by the query that it runs.
    const read = await runInDurableObject(dataset, async (object, { storage }) => {
      const exec = vi.spyOn(storage.sql, "exec");
      await object.page("p/", "p/04000", 2);
      const cursors = exec.mock.results.map(({ value }) => value as SqlStorageCursor<Record<string, SqlStorageValue>>);
      exec.mockRestore();
      return cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
    });
    expect(read).toBeGreaterThan(0);
    expect(read).toBeLessThan(10);
  });
});
