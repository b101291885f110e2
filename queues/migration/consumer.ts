import { sealedKeysOf } from "../../workers/adapters/sealed-keys.ts";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { type MigrationMessage, queuedMessage } from "../../workers/core/migration/message.ts";
import type { SealedKeys } from "../../workers/ports/sealed-keys.ts";
import { ACK, settleEach, type Settlement } from "../settle.ts";
import { copyBatch } from "./copy.ts";
import { deleteObjects } from "./delete.ts";
import { listKeys } from "./keys.ts";
import { listPages } from "./list.ts";
import { readBack } from "./read-back.ts";
import { finishReadBack, openReadBack, READ_BACK_PARTS } from "./read-back-parts.ts";
import { endReport } from "./report.ts";
import { openRun } from "./run.ts";
import { copyThrough } from "./through.ts";
import { abortUpload, finishUpload, openUpload, sendParts } from "./upload.ts";

/** The migration queue: every kind of message of a migration, and those of readers' misses. */
export async function consumeMigration(
  batch: MessageBatch,
  env: Env,
  sealedKeys: SealedKeys = sealedKeysOf(env),
): Promise<void> {
  await settleEach(batch, async (body) => {
    const parsed = queuedMessage.safeParse(body);
    if (!parsed.success) {
      console.error(JSON.stringify({ message: "unreadable message", issues: parsed.error.issues.slice(0, 3) }));
      return ACK;
    }
    return parsed.data.type === "through" ? copyThrough(parsed.data, env) : runMessage(parsed.data, env, sealedKeys);
  });
}

async function runMessage(message: MigrationMessage, env: Env, sealedKeys: SealedKeys): Promise<Settlement> {
  const migration = migrationOf(env, message.migration);
  // Nothing to do: it was delivered twice, or late; its run is paused, and sends it again when it is resumed; or has ended.
  const begun = await migration.begin(message);
  if (begun === null) return ACK;
  const opened = openRun(begun.spec, env);
  if (!opened.ok) {
    // A run that has ended cannot fail any more: what is left of it waits until the configuration is whole again.
    if (message.type === "abort" || message.type === "report") return { kind: "retry", delaySeconds: 300 };
    await migration.failRun(message.seq, opened.failure, {});
    return ACK;
  }
  const run = opened.value;
  const isReadBack = run.spec.task === "verify-deep";
  switch (message.type) {
    case "list":
      return listPages(message, run, begun.wantsCut);
    case "keys":
      return listKeys(message, run, env);
    case "copy":
      return copyBatch(message, run);
    case "read":
      return readBack(message, run);
    case "delete":
      return deleteObjects(message, run, sealedKeys);
    case "upload":
      return isReadBack ? openReadBack(message, run) : openUpload(message, run);
    case "part":
      return isReadBack ? sendParts(message, run, READ_BACK_PARTS) : sendParts(message, run);
    case "finish":
      return isReadBack ? finishReadBack(message, run) : finishUpload(message, run);
    case "abort":
      return abortUpload(message, run);
    case "report":
      return endReport(message, run);
  }
}
