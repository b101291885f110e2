import { jobOf, migrationOf } from "../../workers/adapters/objects.ts";
import { failure } from "../../workers/core/failure.ts";
import { manifestMessage, migrationMessage, throughMessage } from "../../workers/core/migration/message.ts";
import { ACK, settleEach } from "../settle.ts";

/** Turns what a queue gave up into failures of its migration, with the keys named, or a line of the log. */
export async function consumeDeadLetters(batch: MessageBatch, env: Env): Promise<void> {
  await settleEach(batch, async (body) => {
    const work = migrationMessage.safeParse(body);
    if (work.success) {
      await migrationOf(env, work.data.migration).deadLetter(work.data);
      return ACK;
    }
    const rows = manifestMessage.safeParse(body);
    if (rows.success) {
      const { sender, seq } = rows.data;
      const keys = rows.data.rows.map(({ key }) => key);
      const problem = failure("dead-letter", "The object was copied, but its manifest row could not be written.");
      if (sender.kind === "migration") await migrationOf(env, sender.id).deadRows(seq, keys, problem);
      else {
        console.error(JSON.stringify({ message: "rows not written", ...sender, keys: keys.length }));
        await jobOf(env, sender.id).settleMessage(seq);
      }
      return ACK;
    }
    const through = throughMessage.safeParse(body);
    if (through.success) {
      const { dataset, key } = through.data;
      console.error(JSON.stringify({ message: "copy on read given up", code: "dead-letter", dataset, key }));
      return ACK;
    }
    console.error(JSON.stringify({ message: "unreadable dead letter", queue: batch.queue }));
    return ACK;
  });
}
