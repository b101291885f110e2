import { TOTALS } from "./schema.ts";

/** Columns that rows have got since the first release; rows of then know nothing of them. */
const NEW_COLUMNS: readonly (readonly [table: string, column: string, type: string])[] = [
  ["head", "generation", "INTEGER NOT NULL DEFAULT 0"],
  ["head", "forgotten", "INTEGER NOT NULL DEFAULT 0"],
  ["object", "content_encoding", "TEXT"],
  ["object", "md5", "TEXT"],
  ["object", "sha256", "TEXT"],
  ["object", "crc64nvme", "TEXT"],
  ["object", "origin", "INTEGER"],
  ["object", "source_key", "TEXT"],
  ["object", "storage_class", "TEXT"],
  ["object", "tags", "TEXT"],
  ["object", "placed", "INTEGER NOT NULL DEFAULT 0"],
  ["object", "said", "INTEGER NOT NULL DEFAULT 0"],
];

/**
 * Brings the tables of an older release to what `SCHEMA` has; of an object without tables, or with today's, it changes nothing.
 * Run it in a transaction before `SCHEMA`, and what it returns after that: totals that were counted by something else are counted
 * anew, once.
 */
export function upgrade(sql: SqlStorage): () => void {
  const columnsOf = (table: string): Set<string> =>
    new Set(
      sql
        .exec<{ name: string }>("SELECT name FROM pragma_table_info(?)", table)
        .toArray()
        .map(({ name }) => name),
    );
  const tables = new Map(["head", "object", "tombstone", "total"].map((table) => [table, columnsOf(table)]));
  const lacks = (table: string, column: string): boolean => {
    const columns = tables.get(table);
    return columns !== undefined && columns.size > 0 && !columns.has(column);
  };
  for (const [table, column, type] of NEW_COLUMNS) {
    if (lacks(table, column)) sql.exec(`ALTER TABLE ${table} ADD COLUMN ${column} ${type}`);
  }
  if (lacks("tombstone", "seq")) {
    // When they were buried is not known by seq: it counts as the last change there was.
    const { seq } = sql.exec<{ seq: number }>("SELECT seq FROM head").one();
    sql.exec(`ALTER TABLE tombstone ADD COLUMN seq INTEGER NOT NULL DEFAULT ${seq}`);
  }
  // Those of before were deleted by us; who was told so reads nothing through.
  if (lacks("tombstone", "purpose")) sql.exec("ALTER TABLE tombstone ADD COLUMN purpose INTEGER NOT NULL DEFAULT 1");
  if (!lacks("total", "stage") && tables.get("total")?.has("category") !== true) return () => undefined;
  sql.exec("DROP TABLE total");
  return () => {
    for (const [table, by, columns] of TOTALS) {
      sql.exec(`INSERT INTO ${table} (${by}, objects, bytes)
        SELECT ${columns}, count(*), sum(size) FROM object GROUP BY 1, 2`);
    }
  };
}
