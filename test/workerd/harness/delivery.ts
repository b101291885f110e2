import { createExecutionContext, createMessageBatch, getQueueResult, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { consumeDeadLetters } from "../../../queues/dead-letter/consumer.ts";
import { consumeManifest } from "../../../queues/manifest/consumer.ts";
import { consumeMigration } from "../../../queues/migration/consumer.ts";
import { forEachLimited } from "../../../workers/adapters/for-each-limited.ts";
import { migrationOf } from "../../../workers/adapters/objects.ts";
import type { SentManifestMessage, SentMigrationMessage } from "../../../workers/core/migration/message.ts";
import type { SealedKeys } from "../../../workers/ports/sealed-keys.ts";
import { innerState, passTime, statusOf, type TestRun } from "./run.ts";

/** A letter whose content may be anybody's. */
interface AnyLetter {
  queue: string;
  body: unknown;
  deliveries: number;
}

export type Letter =
  | { queue: "migration"; body: SentMigrationMessage; deliveries: number }
  | { queue: "manifest"; body: SentManifestMessage; deliveries: number };

/** wrangler.toml: max_retries after the first delivery, before the dead-letter queue. */
const DELIVERIES_MAX = 9;
/** More rounds than any test needs: a run that does not end fails instead of hanging. */
const ROUNDS_MAX = 400;

/** Collects what a Migration object sends, as the queues would: each send of an outbox row is one letter. */
class Postbox {
  readonly #run: TestRun;
  readonly #sends = new Map<number, number>();

  constructor(run: TestRun) {
    this.#run = run;
  }

  async collect(): Promise<Letter[]> {
    const rows = await runInDurableObject(migrationOf(env, this.#run.id), (_, { storage }) =>
      storage.sql
        .exec<{ seq: number; queue: string; body: string; sends: number }>(
          "SELECT seq, queue, body, sends FROM outbox WHERE sends > 0 ORDER BY seq",
        )
        .toArray(),
    );
    return rows.flatMap(({ seq, queue, body, sends }) => {
      const unseen = sends - (this.#sends.get(seq) ?? 0);
      this.#sends.set(seq, sends);
      const letter = { queue, body: { ...(JSON.parse(body) as object), seq }, deliveries: 0 } as Letter;
      return Array.from({ length: unseen }, () => ({ ...letter }));
    });
  }
}

/** Hands one letter to its consumer, alone in a batch. `sealedKeys` tells which keys a sealed version holds. */
export async function deliver(letter: AnyLetter, seen: Env, sealedKeys?: SealedKeys): Promise<"ack" | "retry"> {
  letter.deliveries += 1;
  return process(`penstock-${letter.queue}`, letter.body, (batch) =>
    letter.queue === "migration" ? consumeMigration(batch, seen, sealedKeys) : consumeManifest(batch, seen),
  );
}

/** Hands one letter to the consumer of dead letters. */
export async function bury(letter: AnyLetter, seen: Env): Promise<"ack" | "retry"> {
  return process("penstock-dead-letter", letter.body, (batch) => consumeDeadLetters(batch, seen));
}

async function process(
  queue: string,
  body: unknown,
  consume: (batch: MessageBatch) => Promise<void>,
): Promise<"ack" | "retry"> {
  const batch = createMessageBatch(queue, [{ id: crypto.randomUUID(), timestamp: new Date(), attempts: 1, body }]);
  await consume(batch);
  const result = await getQueueResult(batch, createExecutionContext());
  return result.explicitAcks.length === 1 ? "ack" : "retry";
}

export interface Carrier {
  /** What becomes of the letters of one round: left out, repeated, in another order. */
  arrange?: (letters: Letter[]) => Letter[] | Promise<Letter[]>;
  /** Handed over instead of by `deliver`. */
  hand?: (letter: Letter, seen: Env) => Promise<"ack" | "retry">;
  /** How many consumers work at once; one by default. */
  consumers?: number;
  /** What happens where nothing is under way; by default the time passes after which silent work is sent again. */
  wait?: (run: TestRun) => Promise<void>;
}

/**
 * Carries letters until the run has ended and all is quiet. Retries go back into the queue, and to the dead letters
 * after the last. Where nothing is under way, time passes until the silent work is sent again.
 */
export async function carry(run: TestRun, carrier: Carrier = {}): Promise<void> {
  const { arrange = (letters) => letters, hand = deliver, consumers = 1 } = carrier;
  const wait = carrier.wait ?? (() => passTime(run));
  const postbox = new Postbox(run);
  let retries: Letter[] = [];
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const letters: Letter[] = [...retries, ...(await postbox.collect())];
    if (letters.length === 0) {
      if (await isOver(run)) return;
      await wait(run);
      continue;
    }
    retries = [];
    await forEachLimited(await arrange(letters), consumers, async (letter) => {
      const answer = await hand(letter, run.env);
      if (answer === "retry" && letter.deliveries < DELIVERIES_MAX) retries.push(letter);
      else if (answer === "retry") await bury(letter, run.env);
    });
  }
  throw new Error(`The run did not end: ${JSON.stringify(await statusOf(run))}`);
}

async function isOver(run: TestRun): Promise<boolean> {
  const { state } = await statusOf(run);
  return ["done", "failed", "cancelled"].includes(state) && (await innerState(run)).outbox === 0;
}
