import { mix32 } from "./mix.ts";

/** One unit in one node's hands: what a lease's opaque text stands for. */
export interface Ticket {
  node: string;
  /** The number of the grant that it came with. */
  grant: number;
  epoch: number;
  /** The unit's place in the epoch's order. */
  position: number;
  /** How often the unit was handed out in this epoch, with this time. */
  attempt: number;
}

/** Characters of a ticket, at most: a name of 63 and five numbers. */
export const TICKET_MAX_LENGTH = 200;

/**
 * A ticket as text. Its last field is a checksum under the job's key, so that a text which was never given, was altered, or
 * is another job's is known as such without a list of those that were. It protects from mistakes, not from the job's own
 * nodes: they hold one token, and may do to each other what they like.
 *
 * @param key 32-bit words of the job's own
 */
export function formatTicket(ticket: Ticket, key: readonly number[]): string {
  const { node, grant, epoch, position, attempt } = ticket;
  return `${node}.${grant}.${epoch}.${position}.${attempt}.${checksum(ticket, key)}`;
}

/** Reads a ticket; null where it is none that `formatTicket` made under this key. */
export function parseTicket(text: string, key: readonly number[]): Ticket | null {
  const [, node = "", ...numbers] =
    /^([a-z0-9-]{1,63})\.(\d{1,15})\.(\d{1,15})\.(\d{1,15})\.(\d{1,15})\./.exec(text) ?? [];
  const [grant = -1, epoch = -1, position = -1, attempt = -1] = numbers.map(Number);
  const ticket = { node, grant, epoch, position, attempt };
  return formatTicket(ticket, key) === text ? ticket : null;
}

function checksum({ node, grant, epoch, position, attempt }: Ticket, key: readonly number[]): string {
  const said = [...Array.from(node, (char) => char.charCodeAt(0)), grant, epoch, position, attempt];
  let state = key[0] ?? 0;
  for (const number of said) {
    state = mix32(state ^ number);
    // Numbers of more than 32 bits count whole.
    state = (state + Math.floor(number / 2 ** 32)) | 0;
  }
  for (const word of key.slice(1)) state = mix32(state ^ word);
  return (state >>> 0).toString(36);
}
