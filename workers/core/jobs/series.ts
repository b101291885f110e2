import { SERIES_NAMES_MAX, SERIES_SLOTS_MAX } from "../limits.ts";

/** What a heartbeat says of the training beside that its node is there. */
export interface Said {
  step?: number | undefined;
  epoch?: number | undefined;
  /** Null: there is none, for instance because it is no number any more. */
  loss?: number | null | undefined;
  metrics?: Readonly<Record<string, number>> | undefined;
}

/** What was said of one name in one slot of time, by all nodes together. */
export interface Extent {
  count: number;
  sum: number;
  least: number;
  most: number;
  last: number;
}

/** A slot of time, counted from the start of the series, and what was said in it by name. */
export interface Slot {
  slot: number;
  said: ReadonlyMap<string, Extent>;
}

/** One point of a series as it is answered; `at` is when its slot begins. */
export interface Point {
  at: string;
  count: number;
  mean: number;
  least: number;
  most: number;
  last: number;
}

/** Names that every job may use; a metric has another. */
export const OWN_NAMES = ["step", "epoch", "loss"] as const;
/** Other names that one job may use. */
export const METRIC_NAMES_MAX = SERIES_NAMES_MAX - OWN_NAMES.length;

/** The width of a slot at first: about the time between two heartbeats. It doubles whenever there would be too many. */
export const FIRST_SLOT_MS = 10_000;

/** What a heartbeat adds to the series. */
export function samplesOf({ step, epoch, loss, metrics }: Said): [name: string, value: number][] {
  const own = Object.entries({ step, epoch, loss });
  return [...own, ...Object.entries(metrics ?? {})].flatMap(([name, value]) =>
    value === undefined || value === null ? [] : [[name, value] as [string, number]],
  );
}

/** The width at which the series covers this time: the one that it has, doubled as often as it takes. */
export function widthFor(slotMs: number, elapsedMs: number): number {
  let width = slotMs;
  while (elapsedMs >= width * SERIES_SLOTS_MAX) width *= 2;
  return width;
}

/** The slot of a moment; a clock that went backwards is still at the start. */
export const slotOf = (elapsedMs: number, slotMs: number): number => Math.max(0, Math.floor(elapsedMs / slotMs));

export const extentOf = (value: number): Extent => ({ count: 1, sum: value, least: value, most: value, last: value });

/** Two extents as one; `later` has the last word. */
export function joined(earlier: Extent | undefined, later: Extent): Extent {
  if (earlier === undefined) return later;
  return {
    count: earlier.count + later.count,
    sum: bounded(earlier.sum + later.sum),
    least: Math.min(earlier.least, later.least),
    most: Math.max(earlier.most, later.most),
    last: later.last,
  };
}

/** What was said in two slots, as one. */
export function joinedSaid(earlier: Slot["said"], later: Slot["said"]): Map<string, Extent> {
  const all = new Map(earlier);
  for (const [name, extent] of later) all.set(name, joined(all.get(name), extent));
  return all;
}

/** The series in slots that are `factor` times as wide. The slots come in order. */
export function widened(slots: readonly Slot[], factor: number): Slot[] {
  const wide = new Map<number, Slot["said"]>();
  for (const { slot, said } of slots) {
    const at = Math.floor(slot / factor);
    wide.set(at, joinedSaid(wide.get(at) ?? new Map(), said));
  }
  return [...wide].map(([slot, said]) => ({ slot, said }));
}

/** The same as text, in which a slot is kept: a list, for a name may be any, even one that objects have by themselves. */
export const formatSaid = (said: Slot["said"]): string =>
  JSON.stringify([...said].map(([name, { count, sum, least, most, last }]) => [name, count, sum, least, most, last]));

export function parseSaid(text: string): Map<string, Extent> {
  const rows = JSON.parse(text) as [string, number, number, number, number, number][];
  return new Map(rows.map(([name, count, sum, least, most, last]) => [name, { count, sum, least, most, last }]));
}

/** Finite numbers may add up to one that is not, which is no JSON. */
const bounded = (sum: number): number => Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, sum));
