import type { FailureCode } from "../../workers/core/failure.ts";
import type { Proof } from "../../workers/core/manifest/row.ts";
import type { CopyItem } from "../../workers/core/migration/message.ts";
import { outcomeOf, type ReportLine } from "../../workers/core/migration/report-line.ts";
import type { Task } from "../../workers/core/migration/status.ts";

/**
 * The report of a run: the names of its parts in R2, which pages and batches have written as they were settled, and the
 * lines that nobody has written yet: of objects in parts, and of failures that no batch knew of.
 */
export class Report {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Records a part, which has the lines of the keys in (after, upTo] that were in none. */
  add(name: string, { after, upTo }: { after: string | null; upTo: string }): void {
    this.#sql.exec("INSERT OR IGNORE INTO report (name) VALUES (?)", name);
    for (const table of ["upload", "failure"]) {
      this.#sql.exec(`UPDATE ${table} SET is_reported = 1 WHERE key > ? AND key <= ?`, after ?? "", upTo);
    }
  }

  /** Names in their order after `after`. */
  names(after: string | null, limit: number): string[] {
    return this.#sql
      .exec<{ name: string }>(
        `SELECT name FROM (SELECT report AS name FROM page UNION ALL SELECT report FROM batch UNION ALL SELECT name FROM report)
           WHERE name > ? ORDER BY name LIMIT ?`,
        after ?? "",
        limit,
      )
      .toArray()
      .map(({ name }) => name);
  }

  get hasRest(): boolean {
    return this.rest(null, 1, "copy").length > 0;
  }

  /** Lines that are in no part, by key. */
  rest(after: string | null, limit: number, task: Task): ReportLine[] {
    return this.#sql
      .exec<{
        key: string;
        item: string | null;
        state: string;
        proof: Proof | null;
        etag: string | null;
        code: FailureCode;
        detail: string;
      }>(
        `SELECT key, item, state, proof, etag, NULL AS code, NULL AS detail FROM upload
             WHERE state = 'copied' AND is_reported = 0 AND key > ?1
           UNION ALL SELECT f.key, u.item, 'failed', NULL, NULL, f.code, f.detail
             FROM failure f LEFT JOIN upload u ON u.key = f.key WHERE f.is_reported = 0 AND f.key > ?1
           ORDER BY key LIMIT ?2`,
        after ?? "",
        limit,
      )
      .toArray()
      .map(({ key, item, state, proof, etag, code, detail }): ReportLine => {
        const size = item === null ? null : (JSON.parse(item) as CopyItem).size;
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
