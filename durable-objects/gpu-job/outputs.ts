import { failure } from "../../workers/core/failure.ts";
import { OUTPUTS_MAX } from "../../workers/core/limits.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";

export interface Output {
  key: string;
  size: number;
  contentType: string;
}

/** What PUT URLs were issued for, and what of it was found in the bucket. */
export class Outputs {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS output (
      key TEXT PRIMARY KEY,
      size INTEGER NOT NULL,
      content_type TEXT NOT NULL,
      etag TEXT                   -- once it was found in the bucket, as it was announced
    ) WITHOUT ROWID`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Records what PUT URLs are about to be issued for; the same key again replaces the announcement. */
  announce(outputs: readonly Output[]): Result<null> {
    const known = this.#sql.exec<{ key: string }>("SELECT key FROM output").toArray();
    const keys = new Set([...known, ...outputs].map(({ key }) => key));
    if (keys.size > OUTPUTS_MAX) {
      return fail(failure("invalid-body", `A job may have ${OUTPUTS_MAX} outputs.`, { field: "objects" }));
    }
    for (const { key, size, contentType } of outputs) {
      this.#sql.exec(
        `INSERT INTO output (key, size, content_type) VALUES (?, ?, ?)
           ON CONFLICT (key) DO UPDATE SET size = excluded.size, content_type = excluded.content_type`,
        key,
        size,
        contentType,
      );
    }
    return ok(null);
  }

  /** The announced outputs of these keys, or all; `output-not-announced` names a key that was not. */
  announced(keys: readonly string[] | null): Result<Output[]> {
    const all = this.#sql
      .exec<Output & Record<string, SqlStorageValue>>("SELECT key, size, content_type AS contentType FROM output")
      .toArray();
    if (keys === null) return ok(all);
    const byKey = new Map(all.map((output) => [output.key, output]));
    const missing = keys.find((key) => !byKey.has(key));
    if (missing !== undefined) {
      return fail(failure("output-not-announced", `No PUT URL was issued for "${missing}".`, { field: "outputs" }));
    }
    return ok([...new Set(keys)].flatMap((key) => byKey.get(key) ?? []));
  }

  /** Notes that outputs were found. */
  commit(found: readonly { key: string; etag: string }[]): void {
    for (const { key, etag } of found) this.#sql.exec("UPDATE output SET etag = ? WHERE key = ?", etag, key);
  }

  get counts(): { announced: number; committed: number } {
    return this.#sql
      .exec<{ announced: number; committed: number }>(
        "SELECT count(*) AS announced, count(etag) AS committed FROM output",
      )
      .one();
  }
}
