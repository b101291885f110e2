import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, expect, it, vi } from "vitest";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import type { Failure } from "../../workers/core/failure.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { MANIFEST_MAX_BYTES } from "../../workers/core/limits.ts";
import { type SentManifestMessage, sentRows } from "../../workers/core/migration/message.ts";
import { givenRow } from "../harness/rows.ts";
import { handOver, notification } from "./harness/notify.ts";
import { must, registerDataset } from "./harness/run.ts";
import { rowAt } from "./harness/through.ts";
import { carryWalk, pagesOf } from "./harness/walk.ts";

beforeEach(() => {
  for (const method of ["log", "error"] as const) vi.spyOn(console, method).mockReturnValue(undefined);
});

/** Has a Dataset object believe that its database has this size. */
const sizeIs = (name: string, bytes: number) =>
  runInDurableObject(datasetOf(env, name), (_, { storage }) => {
    Object.defineProperty(storage.sql, "databaseSize", { get: () => bytes, configurable: true });
  });

it("a full manifest hears of deletions and changes, and refuses by name only what has no row", async () => {
  const claim = { name: "full", kind: "files", bucket: "DATASETS", prefix: "full/", schedule: null };
  must(await directoryOf(env).claimDataset(claim, "ds_full"));
  await registerDataset("full", "nothing/");
  const put = (key: string, text: string) => env.DATASETS.put(`full/${key}`, text);
  const told = async (key: string, text: string | null) =>
    notification(`full/${key}`, text === null ? null : ((await put(key, text))?.etag ?? null));
  await handOver([await told("gone", "1"), await told("changed", "1")]);
  await sizeIs("full", MANIFEST_MAX_BYTES + 1);
  await env.DATASETS.delete("full/gone");
  const errors = vi.spyOn(console, "error").mockReturnValue(undefined);
  const news = [await told("gone", null), await told("changed", "22"), await told("new", "1")];
  expect(await handOver(news)).toEqual(["ack", "ack", "ack"]);
  expect(errors.mock.calls.map(([line]) => JSON.parse(String(line)) as object)).toMatchObject([
    { dataset: "full", code: "manifest-full" },
  ]);
  const rows = await Promise.all(["gone", "changed", "new"].map((key) => rowAt("full", key)));
  expect(rows.map((row) => row?.size)).toEqual([undefined, 2, undefined]);
  // Nothing is kept of what was refused: there is no room.
  const asked = (_: unknown, { storage }: DurableObjectState) => storage.sql.exec("SELECT key FROM asked").toArray();
  expect(await runInDurableObject(datasetOf(env, "full"), asked)).toEqual([]);
  await sizeIs("full", 0);
  await handOver([notification("full/new", "e")]);
  expect((await rowAt("full", "new"))?.size).toBe(1);
});

it("a full manifest does not grow by what is placed, or by checksums", async () => {
  await registerDataset("grown", "nothing/");
  must(await datasetOf(env, "grown").applyRows("ds_grown", [givenRow("raw/a")]));
  must(await datasetOf(env, "grown").seal("ds_grown", { note: "", aliases: [] }));
  await sizeIs("grown", MANIFEST_MAX_BYTES + 1);
  const full = { ok: false, failure: { code: "manifest-full" } };
  const dataset = datasetOf(env, "grown");
  const sums = { key: "raw/a", size: 1, etag: "e", md5: null, sha256: "0".repeat(64) };
  expect(await dataset.place(["raw/a"], { stage: "processed", category: null })).toMatchObject(full);
  expect(await dataset.placeBelow("raw/", null, { stage: "processed", category: null })).toMatchObject(full);
  expect(await dataset.takeChecksums("ds_grown", [sums])).toMatchObject(full);
  // New rules hold for what is there as soon as there is room again.
  must(await dataset.patch({ places: [{ pattern: "raw/...", stage: "acquired" }] }));
  await runDurableObjectAlarm(dataset);
  expect((await rowAt("grown", "raw/a"))?.stage).toBe("raw");
  expect(await dataset.seal("ds_grown", { note: "", aliases: [] })).toMatchObject(full);
  await runInDurableObject(dataset, (_, { storage }) => storage.sql.exec("UPDATE placing SET due_at = 0"));
  await sizeIs("grown", 0);
  await runInDurableObject(dataset, (_, { storage }) => storage.setAlarm(Date.now() + 60_000));
  await runDurableObjectAlarm(dataset);
  expect((await rowAt("grown", "raw/a"))?.stage).toBe("acquired");
});

it("a walk of a full manifest goes on past what is new, takes out what is gone, and counts what it had no room for", async () => {
  const claim = { name: "walked", kind: "files", bucket: "DATASETS", prefix: "walked/", schedule: null };
  must(await directoryOf(env).claimDataset(claim, "ds_walked"));
  await registerDataset("walked", "nothing/");
  const put = await env.DATASETS.put("walked/z", "1");
  await handOver([notification("walked/z", put?.etag ?? null)]);
  await env.DATASETS.delete("walked/z");
  for (const key of ["a", "b"]) await env.DATASETS.put(`walked/${key}`, "1");
  await sizeIs("walked", MANIFEST_MAX_BYTES + 1);
  must(await datasetOf(env, "walked").beginWalk(false));
  await carryWalk("walked", pagesOf(1));
  expect(await rowAt("walked", "z")).toBeUndefined();
  const status = must(await datasetOf(env, "walked").walkStatus());
  expect(status).toMatchObject({ state: "done", counts: { removed: 1, refused: 2 } });
});

it("a full manifest gives back the questions that were overtaken", async () => {
  await registerDataset("overtaken", "nothing/");
  const dataset = datasetOf(env, "overtaken");
  must(await dataset.applyRows("ds_overtaken", [givenRow("old")]));
  const hint = (...keys: string[]) =>
    dataset.hint(
      "ds_overtaken",
      keys.map((key) => ({ key, etag: null })),
    );
  const { questions } = must(await hint("old", "new"));
  must(await hint("old")); // By somebody who dies then.
  await sizeIs("overtaken", MANIFEST_MAX_BYTES + 1);
  const answers = questions.map((question) => ({ ...question, row: givenRow(question.key) }));
  const answered = must(await dataset.answerRows("ds_overtaken", answers));
  expect(answered).toMatchObject({ questions: [{ key: "old" }], refused: { keys: ["new"] } });
});

it("of a batch of copies a full manifest takes what it has rows of, and names the others to their migration", async () => {
  await registerDataset("half", "nothing/");
  const said = (key: string, etag: string): Row => givenRow(key, { etag });
  must(await datasetOf(env, "half").applyRows("ds_half", [said("kept", "e1")]));
  await sizeIs("half", MANIFEST_MAX_BYTES + 1);
  const dead = vi.fn<(seq: number, keys: string[], problem: Failure) => Promise<void>>().mockResolvedValue();
  const seen = { ...env, MIGRATION: { getByName: () => ({ deadRows: dead }) } as unknown as Env["MIGRATION"] };
  const message: SentManifestMessage = {
    ...{ v: 1, type: "rows", seq: 7, dataset: "half", datasetId: "ds_half" },
    sender: { kind: "migration", id: "mig_half" },
    ...sentRows([said("kept", "e1"), said("new", "e2")]),
  };
  expect(await handOver([message], seen)).toEqual(["ack"]);
  expect(dead.mock.calls).toEqual([[7, ["new"], expect.objectContaining({ code: "manifest-full" })]]);
  expect(await rowAt("half", "new")).toBeUndefined();
});
