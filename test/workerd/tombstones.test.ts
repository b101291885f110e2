import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";

const ID = "ds_01";
const dataset = datasetOf(env, "graves");
const row = (key: string, uploadedAt: number) => ({
  ...{ key, size: 1, etag: "e", uploadedAt, contentType: null, proof: null, sourceEtag: null, sourceModifiedAt: null },
  ...{ writer: "mig_01", stage: null, category: null },
});

beforeAll(async () => {
  await dataset.configure({
    ...{ id: ID, name: "graves", kind: "files", bucket: "DATASETS", prefix: "graves/", read: "r2" },
    ...{ schedule: null, liveTtlSeconds: 10, createdAt: "", updatedAt: "" },
  });
});

describe("a key that was deleted on purpose", () => {
  it("is gone until it is written again, and no row of before brings it back", async () => {
    await dataset.bury(ID, ["a", "b"]);
    expect([await dataset.isBuried("a"), await dataset.isBuried("b"), await dataset.isBuried("c")]).toEqual([
      true,
      true,
      false,
    ]);
    await dataset.applyRows(ID, [row("a", Date.now() - 60_000), row("c", Date.now() + 1000)]);
    expect(await dataset.isBuried("a")).toBe(true);
    await dataset.applyRows(ID, [row("a", Date.now() + 1000)]);
    expect([await dataset.isBuried("a"), await dataset.isBuried("b")]).toEqual([false, true]);
  });

  it("is not one of an older dataset of the same name", async () => {
    await dataset.bury("ds_00", ["of-another"]);
    expect(await dataset.isBuried("of-another")).toBe(false);
  });

  it("may be one of thousands with long names, and a row that is written costs the same beside them", async () => {
    const keys = Array.from({ length: 10_000 }, (_, n) => `${String(n).padStart(5, "0")}/${"\u0001é".repeat(300)}`);
    await dataset.bury(ID, keys);
    expect(await dataset.isBuried(keys.at(-1) ?? "")).toBe(true);
    const read = await runInDurableObject(dataset, async (object, { storage }) => {
      const exec = vi.spyOn(storage.sql, "exec");
      await object.applyRows(ID, [row(keys[5000] ?? "", Date.now() + 1000)]);
      const cursors = exec.mock.results.map(({ value }) => value as SqlStorageCursor<Record<string, SqlStorageValue>>);
      exec.mockRestore();
      return cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
    });
    expect([await dataset.isBuried(keys[5000] ?? ""), await dataset.isBuried(keys[5001] ?? "")]).toEqual([false, true]);
    expect(read).toBeGreaterThan(0);
    expect(read).toBeLessThan(50);
  });
});
