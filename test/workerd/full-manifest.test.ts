import { runInDurableObject } from "cloudflare:test";
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
  // What was refused is still in question: no late row is written without a look at R2.
  await sizeIs("full", 0);
  await handOver([notification("full/new", "e")]);
  expect((await rowAt("full", "new"))?.size).toBe(1);
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
