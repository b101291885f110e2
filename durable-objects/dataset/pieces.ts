import type { Change, SealedFile } from "../../workers/core/manifest/version.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import type { KeptVersion } from "./versions.ts";

export const PIECES_SCHEMA = [
  `CREATE TABLE IF NOT EXISTS version_file (version INTEGER NOT NULL, key TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (version, key)) WITHOUT ROWID`,
  // Its entries sorted by hash, of each file of objects: offsets are where each part of the index begins in it.
  `CREATE TABLE IF NOT EXISTS version_run (version INTEGER NOT NULL, key TEXT NOT NULL, etag TEXT NOT NULL, offsets TEXT NOT NULL, PRIMARY KEY (version, key)) WITHOUT ROWID`,
  // Zarr metadata documents among the objects that are being sealed.
  `CREATE TABLE IF NOT EXISTS version_node (version INTEGER NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, PRIMARY KEY (version, key)) WITHOUT ROWID`,
  // Changes since the parent, ascending as they were found, until there are enough for a file.
  `CREATE TABLE IF NOT EXISTS version_change (version INTEGER NOT NULL, key TEXT NOT NULL, change TEXT NOT NULL, PRIMARY KEY (version, key)) WITHOUT ROWID`,
];

/** Rows of one statement: a bound value is at most 2 MB. */
const ROWS_AT_ONCE = { items: 1000, weight: Number.POSITIVE_INFINITY };

/** What the sealing of a version has made so far, and what of it the version keeps: its files. */
export class Pieces {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  addFile(version: number, file: SealedFile): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO version_file (version, key, file) VALUES (?, ?, ?)",
      version,
      file.key,
      JSON.stringify(file),
    );
  }

  /** The files of a version, in the order of their names, which is that of their keys. */
  files(version: number): SealedFile[] {
    return this.#sql
      .exec<{ file: string }>("SELECT file FROM version_file WHERE version = ? ORDER BY key", version)
      .toArray()
      .map(({ file }) => JSON.parse(file) as SealedFile);
  }

  /** Objects in the files of a version. */
  countRows(version: number): number {
    return this.#sql
      .exec<{ n: number }>(
        "SELECT coalesce(sum(file ->> 'rows'), 0) AS n FROM version_file WHERE version = ? AND file ->> 'kind' = 'manifest'",
        version,
      )
      .one().n;
  }

  dropFiles(version: number): void {
    this.#sql.exec("DELETE FROM version_file WHERE version = ?", version);
  }

  addChanges(version: number, changes: readonly Change[]): void {
    for (const some of pack(changes, ROWS_AT_ONCE, () => 0)) {
      this.#sql.exec(
        "INSERT OR REPLACE INTO version_change (version, key, change) SELECT ?, value ->> 'key', value FROM json_each(?)",
        version,
        JSON.stringify(some),
      );
    }
  }

  /** Changes that are in no file yet. */
  changesOf(version: number): Change[] {
    return this.#sql
      .exec<{ change: string }>("SELECT change FROM version_change WHERE version = ? ORDER BY key", version)
      .toArray()
      .map(({ change }) => JSON.parse(change) as Change);
  }

  countChanges(version: number): number {
    return this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM version_change WHERE version = ?", version).one().n;
  }

  /** They are in a file. */
  dropChanges(version: number): void {
    this.#sql.exec("DELETE FROM version_change WHERE version = ?", version);
  }

  addRun(version: number, key: string, etag: string, offsets: readonly number[]): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO version_run (version, key, etag, offsets) VALUES (?, ?, ?, ?)",
      version,
      key,
      etag,
      JSON.stringify(offsets),
    );
  }

  /** Where the entries of one part are in each run: bytes, the second past the end. */
  slices(version: number, part: number): { key: string; etag: string; start: number; end: number }[] {
    return this.#sql
      .exec<{ key: string; etag: string; start: number; end: number }>(
        `SELECT key, etag, offsets ->> ?2 AS start, offsets ->> ?3 AS end FROM version_run WHERE version = ?1`,
        version,
        `$[${part}]`,
        `$[${part + 1}]`,
      )
      .toArray();
  }

  addNodes(version: number, nodes: readonly { key: string; size: number; etag: string }[]): void {
    const small = nodes.map(({ key, size, etag }) => ({ key, size, etag }));
    for (const some of pack(small, ROWS_AT_ONCE, () => 0)) {
      this.#sql.exec(
        `INSERT OR IGNORE INTO version_node (version, key, size, etag)
           SELECT ?, value ->> 'key', value ->> 'size', value ->> 'etag' FROM json_each(?)`,
        version,
        JSON.stringify(some),
      );
    }
  }

  /** The metadata documents of a version; null where there are more than `limit`. */
  nodes(version: number, limit: number): { key: string; size: number; etag: string }[] | null {
    const nodes = this.#sql
      .exec<{ key: string; size: number; etag: string }>(
        "SELECT key, size, etag FROM version_node WHERE version = ? ORDER BY key LIMIT ?",
        version,
        limit + 1,
      )
      .toArray();
    return nodes.length > limit ? null : nodes;
  }

  /** Keys of the runs that are still kept. */
  runs(version: number): string[] {
    return this.#sql
      .exec<{ key: string }>("SELECT key FROM version_run WHERE version = ?", version)
      .toArray()
      .map(({ key }) => key);
  }

  /** Takes away what only the sealing needed, some at a time; true when nothing is left. */
  clear({ number, state, parent }: KeptVersion, limit: number): boolean {
    let left = limit;
    const sweep = (table: string, of: number) => {
      const gone = this.#sql
        .exec(
          `DELETE FROM ${table} WHERE version = ?1 AND key IN (SELECT key FROM ${table} WHERE version = ?1 LIMIT ?2) RETURNING 1`,
          of,
          Math.max(0, left),
        )
        .toArray().length;
      left -= gone;
    };
    sweep("version_run", number);
    sweep("version_node", number);
    sweep("version_change", number);
    // What was before the parent is in the files of changes now.
    if (state === "sealed" && parent !== null) sweep("shadow", parent);
    return left > 0;
  }
}
