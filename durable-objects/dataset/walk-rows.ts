import type { Side, UnhashedRow, WalkedRow } from "../../workers/core/manifest/reconcile.ts";

/** Rows that a walk reads at a time: as many as R2 lists. */
const PAGE_ROWS = 1000;

/** The next rows in (after, upTo], as a walk compares them; a page of them, where there are more. */
export function rowsBeside(sql: SqlStorage, after: string | null, upTo: string | null): Side<WalkedRow> {
  const rows = sql
    .exec<{ key: string; etag: string; uploadedAt: number; isAsked: number }>(
      `SELECT object.key, object.etag, object.uploaded_at AS uploadedAt, asked.key IS NOT NULL AS isAsked
         FROM object LEFT JOIN asked ON asked.key = object.key
         WHERE object.key > ?1 ${upTo === null ? "" : "AND object.key <= ?3"} ORDER BY object.key LIMIT ?2`,
      after ?? "",
      PAGE_ROWS,
      ...(upTo === null ? [] : [upTo]),
    )
    .toArray();
  const items = rows.map((row) => ({ ...row, isAsked: row.isAsked === 1 }));
  return { items, end: rows.length === PAGE_ROWS ? (rows.at(-1)?.key ?? null) : upTo };
}

/** Of the next rows those whose SHA-256 nobody has computed. */
export function rowsUnhashed(sql: SqlStorage, after: string | null): Side<UnhashedRow> {
  const rows = sql
    .exec<{ key: string; size: number; etag: string; hasIt: number }>(
      "SELECT key, size, etag, sha256 IS NOT NULL AND said = 0 AS hasIt FROM object WHERE key > ? ORDER BY key LIMIT ?",
      after ?? "",
      PAGE_ROWS,
    )
    .toArray();
  const items = rows.filter(({ hasIt }) => hasIt === 0).map(({ key, size, etag }) => ({ key, size, etag }));
  return { items, end: rows.length === PAGE_ROWS ? (rows.at(-1)?.key ?? null) : null };
}
