import { type Failure, isTransient } from "../workers/core/failure.ts";
import { DELAY_MAX_SECONDS } from "../workers/core/limits.ts";

/** What becomes of a message after its work; `ack` also for work that failed for good and was recorded as that. */
export type Settlement = { kind: "ack" } | { kind: "retry"; delaySeconds?: number };

export const ACK: Settlement = { kind: "ack" };

/**
 * The failures of the work itself are recorded in their migration. What reaches here is a failure to do so: what may
 * pass is delivered again, and after the last retry the dead-letter queue has it.
 */
export function settlementOf(failed: Failure): Settlement {
  if (!isTransient(failed.code)) return ACK;
  const wait = failed.retryAfterSeconds;
  return wait === undefined ? { kind: "retry" } : { kind: "retry", delaySeconds: Math.min(wait, DELAY_MAX_SECONDS) };
}

/** Runs the work of each message of a batch and settles each on its own; one that throws is delivered again. */
export async function settleEach(
  { queue, messages }: Pick<MessageBatch, "queue" | "messages">,
  work: (body: unknown) => Promise<Settlement>,
): Promise<void> {
  for (const message of messages) {
    await settleTogether(queue, [{ message, value: message.body }], async ([body]) => [await work(body)]);
  }
}

/**
 * Runs one work for several messages and settles each as it says, in their order; where it throws, or says nothing of one,
 * that is delivered again.
 */
export async function settleTogether<T>(
  queue: string,
  messages: readonly { message: Message; value: T }[],
  work: (values: T[]) => Promise<readonly Settlement[]>,
): Promise<void> {
  if (messages.length === 0) return;
  let settlements: readonly Settlement[] = [];
  try {
    settlements = await work(messages.map(({ value }) => value));
  } catch (error) {
    console.error(JSON.stringify({ message: "message failed", queue, error: String(error) }));
  }
  for (const [index, { message }] of messages.entries()) {
    const settlement = settlements[index] ?? { kind: "retry" };
    if (settlement.kind === "ack") message.ack();
    else message.retry({ delaySeconds: settlement.delaySeconds ?? redeliverySeconds(message.attempts) });
  }
}

/** 10, 30, 90, 270 and then 300 seconds: with eight retries a deployment's resets, and longer trouble, are waited for. */
const redeliverySeconds = (attempts: number): number => Math.min(300, 10 * 3 ** Math.max(0, attempts - 1));
