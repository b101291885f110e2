import { migrationOf } from "../../workers/adapters/objects.ts";
import { queuedMessage } from "../../workers/core/migration/message.ts";
import { ACK, settleEach } from "../settle.ts";
import { openRun } from "./run.ts";
import { copyBatch } from "./copy.ts";
import { listPage } from "./list.ts";
import { copyThrough } from "./through.ts";
import { abortUpload, finishUpload, openUpload, sendParts } from "./upload.ts";

/** The migration queue: list, copy, upload, part, finish and abort messages, and those of readers' misses. */
export async function consumeMigration(batch: MessageBatch, env: Env): Promise<void> {
  await settleEach(batch, async (body) => {
    const parsed = queuedMessage.safeParse(body);
    if (!parsed.success) {
      console.error(JSON.stringify({ message: "unreadable message", issues: parsed.error.issues.slice(0, 3) }));
      return ACK;
    }
    const message = parsed.data;
    if (message.type === "through") return copyThrough(message, env);
    if (message.type === "abort") return abortUpload(message, env);
    // A message whose work is settled was delivered twice, or late: there is nothing to do.
    const spec = await migrationOf(env, message.migration).begin(message.seq);
    if (spec === null) return ACK;
    const run = openRun(spec, env);
    if (!run.ok) {
      await migrationOf(env, message.migration).failRun(message.seq, run.failure, {});
      return ACK;
    }
    switch (message.type) {
      case "list":
        return listPage(message, run.value);
      case "copy":
        return copyBatch(message, run.value);
      case "upload":
        return openUpload(message, run.value);
      case "part":
        return sendParts(message, run.value);
      case "finish":
        return finishUpload(message, run.value);
    }
  });
}
