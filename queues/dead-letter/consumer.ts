import * as z from "zod";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { failure } from "../../workers/core/failure.ts";
import { retireMessage } from "../../workers/core/jobs/retire-message.ts";
import { shardIndexMessage } from "../../workers/core/manifest/message.ts";
import { parseNotification } from "../../workers/core/manifest/notification.ts";
import { reconcileMessage } from "../../workers/core/manifest/reconcile.ts";
import {
  manifestMessage,
  type MigrationMessage,
  migrationMessage,
  throughMessage,
} from "../../workers/core/migration/message.ts";
import { recordsMessage } from "../../workers/core/records/message.ts";
import { ACK, settleEach } from "../settle.ts";

/** Seconds after which the rest of a report is tried again. */
const REPORT_AGAIN_SECONDS = 3600;

/** Turns what a queue gave up into failures of its migration, with the keys named, or a line of the log. */
export async function consumeDeadLetters(batch: MessageBatch, env: Env): Promise<void> {
  await settleEach(batch, async (body) => {
    const work = migrationMessage.safeParse(body);
    if (work.success) {
      await recordDead(work.data, env);
      return ACK;
    }
    const rows = manifestMessage.safeParse(body);
    if (rows.success) {
      const { sender, seq } = rows.data;
      const keys = rows.data.rows.map(({ key }) => key);
      const problem = failure("dead-letter", "The object was copied, but its manifest row could not be written.");
      if (sender.kind === "migration") await migrationOf(env, sender.id).deadRows(seq, keys, problem);
      else {
        // What is committed must be known: the job's outbox sends it again.
        console.error(
          JSON.stringify({ message: "rows not written", code: "dead-letter", ...sender, keys: keys.length }),
        );
      }
      return ACK;
    }
    const retired = retireMessage.safeParse(body);
    if (retired.success) {
      // The job's outbox sends it again.
      const { job, dataset, items } = retired.data;
      const line = { message: "checkpoint not deleted", code: "dead-letter", job, dataset, keys: items.length };
      console.error(JSON.stringify(line));
      return ACK;
    }
    const through = throughMessage.safeParse(body);
    if (through.success) {
      const { dataset, key } = through.data;
      console.error(JSON.stringify({ message: "copy on read given up", code: "dead-letter", dataset, key }));
      return ACK;
    }
    // The Dataset sends a walk's step again by itself, and who asks for records has them indexed again; what the others would have
    // told, the next walk finds.
    const notified = parseNotification(body);
    if (notified !== null) {
      const { bucket, key } = notified;
      console.error(JSON.stringify({ message: "notification given up", code: "dead-letter", bucket, key }));
      return ACK;
    }
    const other = z.union([reconcileMessage, shardIndexMessage, recordsMessage]).safeParse(body);
    if (other.success) {
      const { type, dataset, ...rest } = other.data;
      const what = "walk" in rest ? { walk: rest.walk, step: rest.step } : { key: rest.key };
      console.error(JSON.stringify({ message: `${type} given up`, code: "dead-letter", dataset, ...what }));
      return ACK;
    }
    console.error(JSON.stringify({ message: "unreadable dead letter", queue: batch.queue }));
    return ACK;
  });
}

/** What the queue gave up after its last retry becomes failures, with the keys named. */
async function recordDead(message: MigrationMessage, env: Env): Promise<void> {
  const migration = migrationOf(env, message.migration);
  const problem = failure("dead-letter", `The ${message.type} message was given up by the queue.`);
  switch (message.type) {
    case "list":
    case "keys":
    case "delete":
      return migration.failRun(message.seq, problem, {});
    case "copy":
    case "read":
      return migration.failItems(
        message.seq,
        message.items.map(({ key }) => ({ key, failure: problem })),
      );
    case "upload":
    case "part":
    case "finish":
      return migration.giveUpUpload(message, problem, null, {});
    case "abort":
      // R2 aborts it by itself after seven days.
      return migration.settleMessage(message.seq);
    case "report":
      // Until it is written the lines are with the run, and its report is not complete.
      return migration.putOff(message.seq, REPORT_AGAIN_SECONDS);
  }
}
