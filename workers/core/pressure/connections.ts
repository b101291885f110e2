/** Who asks a source, as its limiter knows it: an isolate. */
export interface Holder {
  /** When it was last heard, milliseconds since 1970. */
  readonly seenAt: number;
  /** Connections that it may have open, until it asks again. */
  readonly connections: number;
  /** Connections that it would have. */
  readonly wanted: number;
}

export type Holders = ReadonlyMap<string, Holder>;

/** Milliseconds after which who was not heard is believed gone. Who works is heard every second or two. */
const SEEN_LATELY_MS = 5000;

export const seenLately = (holders: Holders, now: number): Holders =>
  new Map([...holders].filter(([, { seenAt }]) => now - seenAt < SEEN_LATELY_MS));

/**
 * The connections that `id` may have open of `limit`, beside what the others have. What nobody wants is anybody's; where
 * somebody has less than it wants and less than an equal part, no other gets more than that.
 *
 * The parts of all never add up to more than the limit, so a newcomer may get none until the others, a second later,
 * have asked again and got less. With fewer connections than holders some wait until others want none.
 */
export function partOf(id: string, wanted: number, limit: number, holders: Holders): number {
  const others = [...holders].filter(([name]) => name !== id).map(([, holder]) => holder);
  const free = Math.max(0, limit - others.reduce((sum, { connections }) => sum + connections, 0));
  const equal = Math.max(1, Math.floor(limit / (others.length + 1)));
  const isShort = others.some((other) => other.connections < Math.min(other.wanted, equal));
  return Math.min(wanted, free, isShort ? equal : Infinity);
}
