import { METER_ENTRIES_MAX, METER_IDLE_SECONDS, READER_SILENCE_MAX_SECONDS } from "../limits.ts";
import { countRead, emptyTally, type ReadEvent, since, type Tally } from "./tally.ts";

/**
 * What one reader, a name that no other isolate has, has counted for a job since it took that name. The counts only
 * grow, so of two readings of a reader the one with more requests is the newer one, however late the other arrives.
 */
export interface Reading {
  reader: string;
  total: Tally;
}

/** A reading that its job has yet to be told. */
export interface Unreported {
  job: string;
  reading: Reading;
  /** For `acknowledge`. */
  entry: Entry;
  upTo: Tally;
}

/** What was read of a dataset, for a job, since it was last taken for Analytics Engine. */
export interface Delta {
  datasetId: string;
  datasetName: string;
  job: string | null;
  tally: Tally;
}

/** The total only grows; the other tallies are copies of it from the moments that they are named after. */
interface Entry {
  readonly datasetId: string;
  datasetName: string;
  readonly job: string | null;
  total: Tally;
  /** When it was last counted in, milliseconds since 1970, as all times here. */
  countedAt: number;
  reader: string;
  /** When it took the reader's name: the reader's readings begin there. */
  named: Tally;
  /** When the job last said that it has a reading. */
  acknowledged: Tally;
  /** When the job was last heard: that, or when the reader took its name. */
  heardAt: number;
  /** When Analytics Engine last got its difference. */
  taken: Tally;
}

/**
 * The reads that an isolate has counted, by dataset and job, and how much of that others know. Nothing is taken off
 * that was not acknowledged: a report that failed is part of the next one, and one that arrives twice changes nothing.
 *
 * A job folds the rows of readers that were silent for an hour, and would count such a reader twice if it spoke again.
 * So a reader that was not acknowledged for half an hour takes a new name and begins at what was acknowledged: exact,
 * unless the job had noted a report, its answer was lost, and every report of that half hour failed.
 */
export class ReadCounts {
  readonly #byDataset = new Map<string, Map<string | null, Entry>>();
  #size = 0;
  readonly #newReader: () => string;
  readonly #giveUp: (lost: Delta) => void;
  readonly #entriesMax: number;

  /** `giveUp` is told what nobody will know of, beyond `entriesMax` pairs of dataset and job that could not be reported. */
  constructor(newReader: () => string, giveUp: (lost: Delta) => void, entriesMax = METER_ENTRIES_MAX) {
    this.#newReader = newReader;
    this.#giveUp = giveUp;
    this.#entriesMax = entriesMax;
  }

  /** Counts a read: two look-ups and a few additions. */
  count(event: ReadEvent, now: number): void {
    const entry = this.#byDataset.get(event.datasetId)?.get(event.job) ?? this.#add(event, now);
    entry.countedAt = now;
    countRead(entry.total, event);
  }

  /** Half full: reports should not wait for the interval. */
  get isCrowded(): boolean {
    return this.#size > this.#entriesMax / 2;
  }

  get size(): number {
    return this.#size;
  }

  /** The readings that jobs have not acknowledged, as they are at this moment. */
  unreported(now: number): Unreported[] {
    const readings: Unreported[] = [];
    for (const entry of this.#entries()) {
      if (entry.job === null || entry.acknowledged.requests === entry.total.requests) continue;
      if (now - entry.heardAt > READER_SILENCE_MAX_SECONDS * 1000) {
        entry.reader = this.#newReader();
        entry.named = entry.acknowledged;
        entry.heardAt = now;
      }
      const upTo = { ...entry.total };
      readings.push({
        job: entry.job,
        reading: { reader: entry.reader, total: since(upTo, entry.named) },
        entry,
        upTo,
      });
    }
    return readings;
  }

  /** The job has this reading, or there is no such job. */
  acknowledge({ entry, upTo }: Unreported, now: number): void {
    entry.heardAt = now;
    // Answers may come in another order than reports were sent.
    if (upTo.requests > entry.acknowledged.requests) entry.acknowledged = upTo;
  }

  /** Takes at most `max` differences that nobody has taken before; the others are for the next time. */
  take(max: number): Delta[] {
    const deltas: Delta[] = [];
    for (const entry of this.#entries()) {
      if (deltas.length >= max) break;
      if (entry.taken.requests === entry.total.requests) continue;
      deltas.push(deltaOf(entry, entry.taken));
      entry.taken = { ...entry.total };
    }
    return deltas;
  }

  /** Forgets what everybody knows of and nobody reads any more; when crowded, all that everybody knows of. */
  forget(now: number): void {
    const idleMs = this.isCrowded ? 0 : METER_IDLE_SECONDS * 1000;
    for (const entry of this.#entries()) if (isKnown(entry) && now - entry.countedAt >= idleMs) this.#remove(entry);
  }

  #add({ datasetId, datasetName, job }: ReadEvent, now: number): Entry {
    if (this.#size >= this.#entriesMax) this.#makeRoom(now);
    const nothing = emptyTally();
    const entry: Entry = {
      datasetId,
      datasetName,
      job,
      total: emptyTally(),
      countedAt: now,
      reader: this.#newReader(),
      named: nothing,
      acknowledged: nothing,
      heardAt: now,
      taken: nothing,
    };
    let ofDataset = this.#byDataset.get(datasetId);
    if (ofDataset === undefined) this.#byDataset.set(datasetId, (ofDataset = new Map()));
    ofDataset.set(job, entry);
    this.#size += 1;
    return entry;
  }

  #makeRoom(now: number): void {
    this.forget(now);
    if (this.#size < this.#entriesMax) return;
    for (const oldest of this.#entries()) {
      this.#remove(oldest);
      this.#giveUp(deltaOf(oldest, oldest.job === null ? oldest.taken : oldest.acknowledged));
      return;
    }
  }

  #remove({ datasetId, job }: Entry): void {
    const ofDataset = this.#byDataset.get(datasetId);
    if (ofDataset?.delete(job) === true) this.#size -= 1;
    if (ofDataset?.size === 0) this.#byDataset.delete(datasetId);
  }

  *#entries(): Generator<Entry> {
    for (const ofDataset of this.#byDataset.values()) yield* ofDataset.values();
  }
}

const isKnown = ({ job, total, acknowledged, taken }: Entry): boolean =>
  taken.requests === total.requests && (job === null || acknowledged.requests === total.requests);

const deltaOf = ({ datasetId, datasetName, job, total }: Entry, from: Tally): Delta => ({
  datasetId,
  datasetName,
  job,
  tally: since(total, from),
});
