import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { Question } from "../../durable-objects/dataset/rows.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { givenRow } from "../harness/rows.ts";
import { must } from "./harness/run.ts";

const ID = "ds_01";
const dataset = datasetOf(env, "graves");
/** What R2 is found to have at the keys that a Dataset asks about. */
async function answer(questions: readonly Question[], isThere: boolean) {
  const seen = questions.map((question) => ({ ...question, row: isThere ? givenRow(question.key) : null }));
  return must(await dataset.answerRows(ID, seen));
}

beforeAll(async () => {
  await dataset.configure({
    ...{ id: ID, name: "graves", kind: "files", bucket: "DATASETS", prefix: "graves/", read: "r2" },
    ...{ schedule: null, liveTtlSeconds: 10, createdAt: "", updatedAt: "" },
  });
});

describe("a key that was deleted on purpose", () => {
  it("is gone until R2 has it again, and no row of before brings it back", async () => {
    await dataset.bury(ID, ["a", "b"]);
    expect([await dataset.isBuried("a"), await dataset.isBuried("b"), await dataset.isBuried("c")]).toEqual([
      true,
      true,
      false,
    ]);
    const late = must(await dataset.applyRows(ID, [givenRow("a"), givenRow("c")]));
    expect([late.written, late.questions.map(({ key }) => key)]).toEqual([1, ["a"]]);
    expect(await dataset.isBuried("a")).toBe(true);
    expect(await answer(late.questions, false)).toMatchObject({ added: 0, changed: 0, removed: 0, questions: [] });
    expect(await dataset.isBuried("a")).toBe(true);
    const again = must(await dataset.applyRows(ID, [givenRow("a")]));
    expect(await answer(again.questions, true)).toMatchObject({ added: 1, changed: 0 });
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
      const { questions } = must(await object.applyRows(ID, [givenRow(keys[5000] ?? "")]));
      await object.answerRows(
        ID,
        questions.map((question) => ({ ...question, row: givenRow(question.key) })),
      );
      const cursors = exec.mock.results.map(({ value }) => value as SqlStorageCursor<Record<string, SqlStorageValue>>);
      exec.mockRestore();
      return cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
    });
    expect([await dataset.isBuried(keys[5000] ?? ""), await dataset.isBuried(keys[5001] ?? "")]).toEqual([false, true]);
    expect(read).toBeGreaterThan(0);
    expect(read).toBeLessThan(80);
  });
});
