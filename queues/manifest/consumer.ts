import { datasetOf, jobOf, migrationOf } from "../../workers/adapters/objects.ts";
import { placeOf } from "../../workers/core/manifest/row.ts";
import { manifestMessage, type ManifestMessage } from "../../workers/core/migration/message.ts";
import { ACK, settleEach, type Settlement, settlementOf } from "../settle.ts";

/** Writes rows into their Dataset object, then tells the sender that they are there. */
export async function consumeManifest(batch: MessageBatch, env: Env): Promise<void> {
  await settleEach(batch, async (body) => {
    const parsed = manifestMessage.safeParse(body);
    if (!parsed.success) {
      console.error(
        JSON.stringify({ message: "unreadable manifest message", issues: parsed.error.issues.slice(0, 3) }),
      );
      return ACK;
    }
    return writeRows(parsed.data, env);
  });
}

async function writeRows(message: ManifestMessage, env: Env): Promise<Settlement> {
  const rows = message.rows.map((row) => ({ ...row, ...placeOf(row.key) }));
  const written = await datasetOf(env, message.dataset).applyRows(message.datasetId, rows);
  if (!written.ok) {
    // A full manifest is no reason to try for ever: a migration records what is missing, a job's log says it.
    const keys = message.rows.map(({ key }) => key);
    console.error(
      JSON.stringify({ message: "rows not written", code: written.failure.code, ...message.sender, keys: keys.length }),
    );
    if (message.sender.kind === "migration")
      await migrationOf(env, message.sender.id).deadRows(message.seq, keys, written.failure);
    else await jobOf(env, message.sender.id).settleMessage(message.seq);
    return settlementOf(written.failure);
  }
  if (message.sender.kind === "migration") await migrationOf(env, message.sender.id).settleMessage(message.seq);
  else await jobOf(env, message.sender.id).settleMessage(message.seq);
  return ACK;
}
