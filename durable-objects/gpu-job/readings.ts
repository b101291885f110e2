import { READINGS_FOLD_SECONDS } from "../../workers/core/limits.ts";
import type { Reading } from "../../workers/core/metering/read-counts.ts";
import type { Tally } from "../../workers/core/metering/tally.ts";

/** Milliseconds between looks for readers that have fallen silent. */
const FOLD_EVERY_MS = 600_000;

/**
 * What isolates have counted of a job's reads: a row for each reader, with all that it has counted so far, so that a
 * reading that arrives twice, or after a newer one, changes nothing. Totals are sums over rows.
 *
 * Rows of readers that will not speak again are folded into one, whose reader is "". A reader is silent for good after an
 * hour: it takes another name when it was not acknowledged for half as long (`read-counts.ts`).
 */
export class ReadingTable {
  readonly #storage: DurableObjectStorage;
  #foldedAt = 0;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS reading (
      reader TEXT PRIMARY KEY,
      heard_at INTEGER NOT NULL,  -- milliseconds since 1970
      requests INTEGER NOT NULL,
      bytes INTEGER NOT NULL,
      hits INTEGER NOT NULL,
      misses INTEGER NOT NULL,
      bypasses INTEGER NOT NULL,
      none INTEGER NOT NULL,
      client_errors INTEGER NOT NULL,
      server_errors INTEGER NOT NULL
    ) WITHOUT ROWID`;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  record({ reader, total }: Reading, now: number): void {
    this.#storage.sql.exec(
      `INSERT INTO reading (reader, heard_at, requests, bytes, hits, misses, bypasses, none, client_errors, server_errors)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (reader) DO UPDATE SET heard_at = excluded.heard_at, requests = excluded.requests,
           bytes = excluded.bytes, hits = excluded.hits, misses = excluded.misses, bypasses = excluded.bypasses,
           none = excluded.none, client_errors = excluded.client_errors, server_errors = excluded.server_errors
         WHERE excluded.requests >= reading.requests`,
      reader,
      now,
      total.requests,
      total.bytes,
      total.hits,
      total.misses,
      total.bypasses,
      total.none,
      total.clientErrors,
      total.serverErrors,
    );
    if (now - this.#foldedAt >= FOLD_EVERY_MS) this.#fold(now);
  }

  get total(): Tally {
    return this.#storage.sql
      .exec<Tally>(
        `SELECT coalesce(sum(requests), 0) AS requests, coalesce(sum(bytes), 0) AS bytes,
           coalesce(sum(hits), 0) AS hits, coalesce(sum(misses), 0) AS misses,
           coalesce(sum(bypasses), 0) AS bypasses, coalesce(sum(none), 0) AS none,
           coalesce(sum(client_errors), 0) AS clientErrors, coalesce(sum(server_errors), 0) AS serverErrors
         FROM reading`,
      )
      .one();
  }

  #fold(now: number): void {
    this.#foldedAt = now;
    const before = now - READINGS_FOLD_SECONDS * 1000;
    this.#storage.transactionSync(() => {
      this.#storage.sql.exec(
        `INSERT OR REPLACE INTO reading
           (reader, heard_at, requests, bytes, hits, misses, bypasses, none, client_errors, server_errors)
           SELECT '', ?, sum(requests), sum(bytes), sum(hits), sum(misses), sum(bypasses), sum(none),
             sum(client_errors), sum(server_errors)
           FROM reading WHERE heard_at < ? OR reader = ''
           HAVING sum(reader <> '') > 0`,
        now,
        before,
      );
      this.#storage.sql.exec("DELETE FROM reading WHERE heard_at < ? AND reader <> ''", before);
    });
  }
}
