import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { failure } from "../../workers/core/failure.ts";
import { DEFAULT_OPTIONS, planRun } from "../../workers/core/migration/request.ts";
import type { PartMessage, UploadMessage } from "../../workers/core/migration/message.ts";

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;
const NOTHING = { objects: 0, bytes: 0 };

/** A run with one object of 10 GiB in parts of 64 MiB, opened: 20 part messages. */
async function openLarge(id: string) {
  const item = { key: "large", size: 10 * GiB, etag: "e-160", lastModified: 0, was: null };
  const migration = migrationOf(env, id);
  await migration.start({
    ...planRun(DEFAULT_OPTIONS),
    ...{ id, dataset: "none", datasetId: "ds_01", source: { name: "none", prefix: "" }, bucket: "DATASETS" },
    ...{ prefix: "patience/", multipartThresholdBytes: 64 * MiB, partBytes: 64 * MiB, keys: null, cuts: [] },
  });
  const [list] = await messages<{ seq: number }>(id, "list");
  const page = {
    ...{ after: null, upTo: "large", rest: null, cuts: [], skipped: NOTHING, proofs: {}, found: [], small: [] },
    ...{ large: [item], largeParts: 160, failures: [], extraneous: [], hazards: {}, report: null },
  };
  await migration.recordPage(list?.seq ?? 0, page, {}, false);
  const [upload] = await messages<{ seq: number }>(id, "upload");
  const message: UploadMessage = { v: 1, migration: id, type: "upload", generation: 1, item, seq: upload?.seq ?? 0 };
  await migration.openUpload(message, { uploadId: "upload-1", plan: { partBytes: 64 * MiB, parts: 160 }, item }, {});
  expect(await messages(id, "part")).toHaveLength(20);
  return migration;
}

async function messages<T>(id: string, type: string): Promise<T[]> {
  return runInDurableObject(migrationOf(env, id), (_, state) =>
    state.storage.sql
      .exec<{ seq: number; body: string }>("SELECT seq, body FROM outbox WHERE type = ? ORDER BY seq", type)
      .toArray()
      .map(({ seq, body }) => ({ ...JSON.parse(body), seq }) as T),
  );
}

const failedObjects = async (migration: ReturnType<typeof migrationOf>) => {
  const status = await migration.status();
  return status.ok ? status.value.failed.objects : null;
};

describe("an object in many parts", () => {
  const slow = failure("source-throttled", "SlowDown");

  it("survives that every one of its messages is throttled once", async () => {
    const migration = await openLarge("mig_patience1");
    const parts = await messages<PartMessage>("mig_patience1", "part");
    expect(parts).toHaveLength(20);
    for (const part of parts) {
      const claimed = await migration.claimParts(part);
      await migration.releaseParts(part, claimed?.claims ?? [], slow, {});
    }
    expect(await failedObjects(migration)).toBe(0);
  });

  it("fails when one message makes no progress in ten tries, and not when it makes some between", async () => {
    const migration = await openLarge("mig_patience2");
    const [part] = await messages<PartMessage>("mig_patience2", "part");
    if (part === undefined) throw new Error("There is no part message.");
    const tryAgain = async (times: number) => {
      for (let i = 0; i < times; i++) {
        const claimed = await migration.claimParts(part);
        await migration.releaseParts(part, claimed?.claims ?? [], slow, {});
      }
    };
    await tryAgain(9);
    const [claim, ...others] = (await migration.claimParts(part))?.claims ?? [];
    if (claim === undefined) throw new Error("No part could be claimed.");
    await migration.settlePart(part, claim, { etag: "p", md5: "0".repeat(32) }, {});
    await migration.releaseParts(part, others, null, {});
    await tryAgain(9);
    expect(await failedObjects(migration)).toBe(0);
    await tryAgain(1);
    expect(await failedObjects(migration)).toBe(1);
    expect(await messages("mig_patience2", "part")).toEqual([]);
    expect(await messages("mig_patience2", "abort")).toHaveLength(1);
  });
});
