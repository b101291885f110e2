import {
  type Extent,
  extentOf,
  FIRST_SLOT_MS,
  formatSaid,
  joinedSaid,
  METRIC_NAMES_MAX,
  OWN_NAMES,
  parseSaid,
  type Point,
  type Said,
  samplesOf,
  type Slot,
  slotOf,
  widened,
  widthFor,
} from "../../workers/core/jobs/series.ts";

/** What `GET /v1/jobs/:id/series` answers; `startedAt` is null before anything was said. */
export interface SeriesView {
  slotSeconds: number;
  startedAt: string | null;
  series: Record<string, Point[]>;
}

interface Head {
  startedAt: number;
  slotMs: number;
  /** The metrics' names. */
  names: string[];
}

/**
 * What heartbeats said, over the whole life of a job in at most 512 slots of time, all names together in a row for each:
 * a heartbeat writes one row, however many numbers it has. When there would be more, slots become twice as wide.
 *
 * Nothing tells a heartbeat from the same one sent again after a lost answer, so that may be counted twice here: it weighs
 * a mean a little, and least, most and last stay as they are. What must be exact is counted by acknowledgements.
 */
export class Series {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS series (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      started_at INTEGER NOT NULL,  -- milliseconds since 1970: when anything was said first
      slot_ms INTEGER NOT NULL,
      names TEXT NOT NULL           -- JSON: the metrics' names
    );
    CREATE TABLE IF NOT EXISTS series_slot (
      slot INTEGER PRIMARY KEY,
      said TEXT NOT NULL            -- at most 64 names and five numbers of each, some 13 KB
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /**
   * Adds what a heartbeat says. In the caller's transaction.
   *
   * @returns its metrics for whose names there is no room in the job's series: they are left out
   */
  add(said: Said, now: number): string[] {
    const all = samplesOf(said);
    const head = this.#head;
    const { startedAt, slotMs: before, names: known } = head ?? { startedAt: now, slotMs: FIRST_SLOT_MS, names: [] };
    const wanted = [...new Set([...known, ...all.map(([name]) => name).filter((name) => !isOwn(name))])];
    const [names, dropped] = [wanted.slice(0, METRIC_NAMES_MAX), wanted.slice(METRIC_NAMES_MAX)];
    const samples = all.filter(([name]) => !dropped.includes(name));
    if (samples.length === 0) return dropped;
    const slotMs = widthFor(before, now - startedAt);
    if (slotMs !== before) this.#widen(slotMs / before);
    if (head === null || slotMs !== before || names.length > known.length) {
      this.#sql.exec(
        "INSERT OR REPLACE INTO series (id, started_at, slot_ms, names) VALUES (1, ?, ?, ?)",
        startedAt,
        slotMs,
        JSON.stringify(names),
      );
    }
    const slot = slotOf(now - startedAt, slotMs);
    const [kept] = this.#sql.exec<{ said: string }>("SELECT said FROM series_slot WHERE slot = ?", slot).toArray();
    const more = new Map<string, Extent>(samples.map(([name, value]) => [name, extentOf(value)]));
    this.#put({ slot, said: joinedSaid(kept === undefined ? new Map() : parseSaid(kept.said), more) });
    return dropped;
  }

  /**
   * The points of these names, or of all there are.
   *
   * @param names of which one that nobody used has no points
   */
  view(names: readonly string[] | null): SeriesView {
    const head = this.#head;
    if (head === null) {
      const none = Object.fromEntries((names ?? []).map((name) => [name, []]));
      return { slotSeconds: FIRST_SLOT_MS / 1000, startedAt: null, series: none };
    }
    const series = new Map<string, Point[]>((names ?? []).map((name) => [name, []]));
    for (const { slot, said } of this.#slots) {
      const at = new Date(head.startedAt + slot * head.slotMs).toISOString();
      for (const [name, { count, sum, least, most, last }] of said) {
        if (names === null && !series.has(name)) series.set(name, []);
        series.get(name)?.push({ at, count, mean: sum / count, least, most, last });
      }
    }
    const startedAt = new Date(head.startedAt).toISOString();
    return { slotSeconds: head.slotMs / 1000, startedAt, series: Object.fromEntries(series) };
  }

  #widen(factor: number): void {
    const wide = widened(this.#slots, factor);
    this.#sql.exec("DELETE FROM series_slot");
    for (const slot of wide) this.#put(slot);
  }

  #put({ slot, said }: Slot): void {
    this.#sql.exec("INSERT OR REPLACE INTO series_slot (slot, said) VALUES (?, ?)", slot, formatSaid(said));
  }

  get #slots(): Slot[] {
    const rows = this.#sql.exec<{ slot: number; said: string }>("SELECT slot, said FROM series_slot ORDER BY slot");
    return rows.toArray().map(({ slot, said }) => ({ slot, said: parseSaid(said) }));
  }

  get #head(): Head | null {
    const [row] = this.#sql
      .exec<{ startedAt: number; slotMs: number; names: string }>(
        "SELECT started_at AS startedAt, slot_ms AS slotMs, names FROM series",
      )
      .toArray();
    return row === undefined ? null : { ...row, names: JSON.parse(row.names) as string[] };
  }
}

const isOwn = (name: string): boolean => OWN_NAMES.some((own) => own === name);
