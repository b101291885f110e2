import { MESSAGE_MAX_BYTES } from "../limits.ts";
import type { Row } from "../manifest/row.ts";
import { type CopyItem, sentItem, sentRows } from "./message.ts";

/** Room for a message's own fields around its items. */
const ENVELOPE_BYTES = 512;

const encoder = new TextEncoder();
const bytesOf = (value: unknown): number => encoder.encode(JSON.stringify(value)).length;

export interface PackLimits {
  /** Items in one message. */
  items: number;
  /** The sum of `weigh` in one message. */
  weight: number;
}

/**
 * Cuts items, in their order, into messages that each fit one billed queue operation (JSON under 60,000 bytes) and
 * the given limits. An item that fits nowhere has a message to itself. `sent` is an item as it travels, `shared` the
 * bytes that every message has besides.
 */
export function pack<T>(
  items: readonly T[],
  limits: PackLimits,
  weigh: (item: T) => number,
  sent: (item: T) => unknown = (item) => item,
  shared = 0,
): T[][] {
  const messages: T[][] = [];
  let current: T[] = [];
  let bytes = ENVELOPE_BYTES + shared;
  let weight = 0;
  for (const item of items) {
    const itemBytes = bytesOf(sent(item)) + 1;
    const itemWeight = weigh(item);
    const full =
      current.length >= limits.items || bytes + itemBytes > MESSAGE_MAX_BYTES || weight + itemWeight > limits.weight;
    if (full && current.length > 0) {
      messages.push(current);
      current = [];
      bytes = ENVELOPE_BYTES + shared;
      weight = 0;
    }
    current.push(item);
    bytes += itemBytes;
    weight += itemWeight;
  }
  if (current.length > 0) messages.push(current);
  return messages;
}

/** Objects and bytes of one copy message: what a consumer copies well within its life. */
const COPY_LIMITS: PackLimits = { items: 500, weight: 1024 ** 3 };

export const packItems = (items: readonly CopyItem[]): CopyItem[][] =>
  pack(items, COPY_LIMITS, ({ size }) => size, sentItem);

/**
 * A message names each content type, writer and origin once. A long type counts with every row, to be on the safe side;
 * origins, of which there is one in a migration, as if every message named them all.
 */
export const packRows = (rows: readonly Row[]): Row[][] =>
  pack(
    rows,
    { items: 1000, weight: Number.POSITIVE_INFINITY },
    () => 0,
    (row) => [sentRows([row]).rows, (row.contentType ?? "").length > 64 ? row.contentType : 0],
    bytesOf([...new Set(rows.flatMap(({ origin }) => origin ?? []))]),
  );
