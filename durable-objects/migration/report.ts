import type { FailureCode } from "../../workers/core/failure.ts";
import type { Proof } from "../../workers/core/manifest/row.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import { outcomeOf, type ReportLine } from "../../workers/core/migration/report-line.ts";
import type { Task } from "../../workers/core/migration/status.ts";

/**
 * What no part of the report has a line of yet, but will: an object in parts that was copied, and a failure, which says more
 * where there are both (rows that could not be written are of objects that were copied).
 */
const UNREPORTED = `
  SELECT key, bytes, state, proof, etag, NULL AS code, NULL AS detail FROM upload
    WHERE state = 'copied' AND is_reported = 0 AND NOT EXISTS (SELECT 1 FROM failure f WHERE f.key = upload.key)
  UNION ALL SELECT f.key, u.bytes, 'failed', NULL, NULL, f.code, f.detail
    FROM failure f LEFT JOIN upload u ON u.key = f.key WHERE f.is_reported = 0`;
const IN = "key IN (SELECT value FROM json_each(?))";

/**
 * The report of a run: the names of its parts in R2, which pages and batches have written as they were settled, and the
 * lines that nobody has written yet: of objects in parts, and of failures that no batch knew of.
 */
export class Report {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /**
   * Records a part that has the lines of these keys. False, and it does not count, where another part has one of them: two
   * deliveries of one message write the same lines.
   */
  add(name: string, keys: readonly string[]): boolean {
    // A bound value is at most 2 MB.
    const groups = pack(keys, { items: keys.length, weight: Number.POSITIVE_INFINITY }, () => 0).map((some) =>
      JSON.stringify(some),
    );
    const unreported = groups
      .map(
        (some) => this.#sql.exec<{ n: number }>(`SELECT count(*) AS n FROM (${UNREPORTED}) WHERE ${IN}`, some).one().n,
      )
      .reduce((sum, n) => sum + n, 0);
    if (unreported < keys.length) return false;
    this.#sql.exec("INSERT INTO report (name) VALUES (?)", name);
    for (const some of groups) {
      for (const table of ["upload", "failure"]) {
        this.#sql.exec(`UPDATE ${table} SET is_reported = 1 WHERE ${IN}`, some);
      }
    }
    return true;
  }

  /** Names in their order after `after`: they begin with the number of the message whose work they tell of. */
  names(after: string | null, limit: number): string[] {
    const from = Number(/^report-(\d+)/.exec(after ?? "")?.[1] ?? 0);
    const ofMessages = ["page", "batch"].flatMap((table) =>
      this.#sql
        .exec<{ name: string }>(
          `SELECT report AS name FROM ${table} WHERE seq >= ? AND report > ? ORDER BY seq LIMIT ?`,
          from,
          after ?? "",
          limit,
        )
        .toArray(),
    );
    const others = this.#sql
      .exec<{ name: string }>("SELECT name FROM report WHERE name > ? ORDER BY name LIMIT ?", after ?? "", limit)
      .toArray();
    return [...ofMessages, ...others]
      .map(({ name }) => name)
      .sort()
      .slice(0, limit);
  }

  get hasRest(): boolean {
    return this.rest(null, 1, "copy").length > 0;
  }

  /** Lines that are in no part, by key. */
  rest(after: string | null, limit: number, task: Task): ReportLine[] {
    return this.#sql
      .exec<{
        key: string;
        bytes: number | null;
        state: string;
        proof: Proof | null;
        etag: string | null;
        code: FailureCode;
        detail: string;
      }>(`SELECT * FROM (${UNREPORTED}) WHERE key > ? ORDER BY key LIMIT ?`, after ?? "", limit)
      .toArray()
      .map(({ key, bytes: size, state, proof, etag, code, detail }): ReportLine => {
        if (state === "failed") return { key, outcome: outcomeOf(code), size, code, detail };
        return {
          key,
          outcome: task === "copy" ? "copied" : "verified",
          size,
          ...(proof === null ? {} : { proof }),
          ...(etag === null ? {} : { etag }),
        };
      });
  }
}
