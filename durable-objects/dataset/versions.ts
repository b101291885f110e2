import { type Failure, failure } from "../../workers/core/failure.ts";
import { PROOFS, STAGES } from "../../workers/core/manifest/row.ts";
import type {
  Change,
  Derived,
  DiffSide,
  SealedFile,
  SealedIndex,
  VersionCounts,
  VersionInfo,
  VersionName,
  VersionState,
} from "../../workers/core/manifest/version.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { type KeptRow, rowFrom, selection } from "./rows.ts";
import { COLUMNS } from "./schema.ts";

export const VERSION_SCHEMA = [
  `CREATE TABLE IF NOT EXISTS version (
    number INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    problem TEXT,
    note TEXT NOT NULL,
    seq INTEGER NOT NULL,
    parent INTEGER,
    created_at INTEGER NOT NULL,
    sealed_at INTEGER,
    aliases TEXT NOT NULL,     -- JSON: names to move to it once it is sealed
    counts TEXT NOT NULL,      -- JSON: VersionCounts
    salt TEXT NOT NULL,        -- hex
    step TEXT,                 -- JSON: how far the sealing is; NULL when there is nothing left to do
    retry_at INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    idx TEXT,                  -- JSON: SealedIndex
    derived TEXT NOT NULL DEFAULT '[]',  -- JSON: Derived[]
    document TEXT,             -- JSON: bytes, etag and sha256 of version.json
    warnings TEXT NOT NULL DEFAULT '[]' -- JSON: what could not be derived, and why
  )`,
  `CREATE TABLE IF NOT EXISTS version_file (version INTEGER NOT NULL, key TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (version, key)) WITHOUT ROWID`,
  // Its entries sorted by hash, of each file of objects: offsets are where each part of the index begins in it.
  `CREATE TABLE IF NOT EXISTS version_run (version INTEGER NOT NULL, key TEXT NOT NULL, etag TEXT NOT NULL, offsets TEXT NOT NULL, PRIMARY KEY (version, key)) WITHOUT ROWID`,
  // Zarr metadata documents among the objects that are being sealed.
  `CREATE TABLE IF NOT EXISTS version_node (version INTEGER NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, PRIMARY KEY (version, key)) WITHOUT ROWID`,
  // Changes since the parent, ascending as they were found, until there are enough for a file.
  `CREATE TABLE IF NOT EXISTS version_change (version INTEGER NOT NULL, key TEXT NOT NULL, change TEXT NOT NULL, PRIMARY KEY (version, key)) WITHOUT ROWID`,
  // Who deletes objects, and until when no version begins, milliseconds since 1970.
  `CREATE TABLE IF NOT EXISTS hold (who TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS alias (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID`,
];

/** A version as it is kept. */
export interface KeptVersion {
  number: number;
  state: VersionState;
  problem: string | null;
  note: string;
  seq: number;
  parent: number | null;
  createdAt: number;
  sealedAt: number | null;
  aliases: string[];
  counts: VersionCounts;
  salt: string;
  step: Step | null;
  retryAt: number;
  tries: number;
  index: SealedIndex | null;
  derived: Derived[];
  warnings: string[];
  document: { bytes: number; etag: string; sha256: string } | null;
}

/**
 * What of a sealing comes next: the file of objects after `after`; the file of the changes found so far; part `part` of the index; the derived documents; the
 * version's own document; the clearing away of what is not needed any more.
 */
export type Step =
  | { do: "rows"; after: string | null; file: number }
  | { do: "changes"; file: number; next: Step }
  | { do: "index"; part: number; uploadId: string | null; etags: string[] }
  | { do: "derive" }
  | { do: "publish" }
  | { do: "clear" };

const VERSION_COLUMNS = `number, state, problem, note, seq, parent, created_at AS createdAt, sealed_at AS sealedAt, aliases, counts,
  salt, step, retry_at AS retryAt, tries, idx AS "index", derived, warnings, document`;

/** The versions of a dataset, and their rows as they were. Whoever calls is in one turn of the object. */
export class Versions {
  readonly #sql: SqlStorage;
  #last: { version: number; seq: number } | null | undefined;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** The last one that was begun, and did not fail: what its rows were is kept when they change. */
  get last(): { version: number; seq: number } | null {
    this.#last ??=
      this.#sql
        .exec<{ version: number; seq: number }>(
          "SELECT number AS version, seq FROM version WHERE state <> 'failed' ORDER BY number DESC LIMIT 1",
        )
        .toArray()[0] ?? null;
    return this.#last;
  }

  /**
   * Begins to seal what is there. Of two that ask at once both get the same version, and so does who asks when nothing has
   * changed since; who asks while an older state is sealed is refused: the version would lack what was just written.
   */
  begin(
    seq: number,
    note: string,
    aliases: string[],
    salt: string,
    now: number,
  ): Result<{ number: number; created: boolean }> {
    const last = this.last;
    const open = last === null ? null : this.get(last.version);
    if (open?.state === "sealing" && open.seq !== seq) {
      const detail = `Version ${open.number} is being sealed, of before the last changes; seal again when it is done.`;
      return fail(failure("version-sealing", detail));
    }
    if (open?.seq === seq) {
      const named = [...new Set([...open.aliases, ...aliases])];
      if (open.state === "sealed") for (const alias of aliases) this.setAlias(alias, open.number);
      else this.#sql.exec("UPDATE version SET aliases = ? WHERE number = ?", JSON.stringify(named), open.number);
      return ok({ number: open.number, created: false });
    }
    const { number } = this.#sql
      .exec<{ number: number }>(
        `INSERT INTO version (number, state, note, seq, parent, created_at, aliases, counts, salt, step)
           VALUES ((SELECT coalesce(max(number), 0) + 1 FROM version), 'sealing', ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number`,
        note,
        seq,
        last?.version ?? null,
        now,
        JSON.stringify(aliases),
        JSON.stringify(this.#counts()),
        salt,
        JSON.stringify({ do: "rows", after: null, file: 1 } satisfies Step),
      )
      .one();
    this.#last = undefined;
    return ok({ number, created: true });
  }

  #counts(): VersionCounts {
    const totals = this.#sql
      .exec<{ proof: string; stage: string; objects: number; bytes: number }>(
        "SELECT proof, stage, objects, bytes FROM total",
      )
      .toArray();
    const sum = (some: typeof totals) => ({
      objects: some.reduce((all, { objects }) => all + objects, 0),
      bytes: some.reduce((all, { bytes }) => all + bytes, 0),
    });
    const stages = Object.fromEntries(
      [...STAGES, "none"]
        .map(
          (stage) => [stage, sum(totals.filter((total) => total.stage === (stage === "none" ? "" : stage)))] as const,
        )
        .filter(([, { objects }]) => objects > 0),
    );
    const proofs = Object.fromEntries(
      PROOFS.map((proof) => [proof, sum(totals.filter((total) => total.proof === proof)).objects] as const).filter(
        ([, objects]) => objects > 0,
      ),
    );
    return { ...sum(totals), stages, proofs };
  }

  get(number: number): KeptVersion | null {
    return this.#select("WHERE number = ?", number)[0] ?? null;
  }

  /** Descending from the one before `before`. */
  page(before: number | null, limit: number): KeptVersion[] {
    return this.#select("WHERE ?1 IS NULL OR number < ?1 ORDER BY number DESC LIMIT ?2", before, limit);
  }

  /** The one with work to do that has been waiting for the longest. */
  get open(): KeptVersion | null {
    return this.#select("WHERE step IS NOT NULL ORDER BY retry_at, number LIMIT 1")[0] ?? null;
  }

  #select(where: string, ...bindings: SqlStorageValue[]): KeptVersion[] {
    return this.#sql
      .exec<Record<string, SqlStorageValue>>(`SELECT ${VERSION_COLUMNS} FROM version ${where}`, ...bindings)
      .toArray()
      .map((record) => {
        const parsed = Object.fromEntries(
          JSON_COLUMNS.map((name) => {
            const text = record[name];
            return [name, typeof text === "string" ? (JSON.parse(text) as unknown) : null];
          }),
        );
        return { ...record, ...parsed } as unknown as KeptVersion;
      });
  }

  /** Writes how far a sealing is, and what it has made. */
  set(
    number: number,
    made: { step: Step | null; index?: SealedIndex; derived?: Derived[]; warnings?: string[] },
  ): void {
    this.#sql.exec(
      `UPDATE version SET step = ?2, tries = 0, retry_at = 0, idx = coalesce(?3, idx),
         derived = coalesce(?4, derived), warnings = coalesce(?5, warnings) WHERE number = ?1`,
      number,
      json(made.step),
      json(made.index),
      json(made.derived),
      json(made.warnings),
    );
  }

  /** A step failed that may work later. */
  postpone(number: number, problem: string, retryAt: number): void {
    this.#sql.exec(
      "UPDATE version SET problem = ?, retry_at = ?, tries = tries + 1 WHERE number = ?",
      problem,
      retryAt,
      number,
    );
  }

  seal(number: number, now: number, document: KeptVersion["document"], step: Step): void {
    const version = this.get(number);
    this.#sql.exec(
      "UPDATE version SET state = 'sealed', problem = NULL, sealed_at = ?, document = ?, step = ? WHERE number = ?",
      now,
      json(document),
      json(step),
      number,
    );
    for (const alias of version?.aliases ?? []) this.setAlias(alias, number);
  }

  /** It cannot be sealed: what changed since goes back to be what changed since its parent. */
  giveUp(number: number, problem: string): void {
    const parent = this.get(number)?.parent ?? null;
    const parentSeq = parent === null ? null : (this.get(parent)?.seq ?? null);
    if (parent !== null && parentSeq !== null) {
      this.#sql.exec(
        `INSERT OR IGNORE INTO shadow (version, ${SHADOW_COLUMNS}) SELECT ?1, ${SHADOW_COLUMNS} FROM shadow WHERE version = ?2 AND seq <= ?3`,
        parent,
        number,
        parentSeq,
      );
    }
    this.#sql.exec("DELETE FROM shadow WHERE version = ?", number);
    this.#sql.exec(
      "UPDATE version SET state = 'failed', problem = ?, step = ? WHERE number = ?",
      problem,
      json({ do: "clear" }),
      number,
    );
    this.#last = undefined;
  }

  hold(who: string, until: number): void {
    this.#sql.exec("INSERT OR REPLACE INTO hold (who, until) VALUES (?, ?)", who, until);
  }

  release(who: string): void {
    this.#sql.exec("DELETE FROM hold WHERE who = ?", who);
  }

  /** Whoever keeps versions from being begun; null for nobody. */
  heldBy(now: number): string | null {
    this.#sql.exec("DELETE FROM hold WHERE until < ?", now);
    return this.#sql.exec<{ who: string }>("SELECT who FROM hold LIMIT 1").toArray()[0]?.who ?? null;
  }

  setAlias(name: string, version: number): void {
    this.#sql.exec("INSERT OR REPLACE INTO alias (name, version) VALUES (?, ?)", name, version);
  }

  removeAlias(name: string): boolean {
    return this.#sql.exec("DELETE FROM alias WHERE name = ? RETURNING 1", name).toArray().length > 0;
  }

  get aliases(): Map<string, number> {
    const rows = this.#sql
      .exec<{ name: string; version: number }>("SELECT name, version FROM alias ORDER BY name")
      .toArray();
    return new Map(rows.map(({ name, version }) => [name, version]));
  }

  /** A sealed version by its number or alias. */
  find(name: Exclude<VersionName, { kind: "live" }>): Result<KeptVersion> {
    const number = name.kind === "number" ? name.number : this.aliases.get(name.alias);
    const version = number === undefined ? null : this.get(number);
    if (version?.state === "sealed") return ok(version);
    return fail(this.unknown(name, version));
  }

  unknown(name: Exclude<VersionName, { kind: "live" }>, version: KeptVersion | null): Failure {
    const called = name.kind === "number" ? `version ${name.number}` : `version "${name.alias}"`;
    if (version?.state === "sealing") return failure("unknown-version", `The dataset's ${called} is not sealed yet.`);
    if (version?.state === "failed") return failure("unknown-version", `The dataset's ${called} could not be sealed.`);
    const last = this.last;
    const known = last === null ? 'only "live" as yet' : `"live" and numbers up to ${last.version}`;
    return failure("unknown-version", `The dataset has no ${called}; it has ${known}.`);
  }

  info(version: KeptVersion, aliases: ReadonlyMap<string, number> = this.aliases): VersionInfo {
    const { number, state, problem, note, seq, parent, createdAt, sealedAt, counts, derived, warnings } = version;
    const time = (at: number) => new Date(at).toISOString();
    return {
      number,
      state,
      problem,
      note,
      seq,
      parent,
      ...counts,
      createdAt: time(createdAt),
      sealedAt: sealedAt === null ? null : time(sealedAt),
      aliases: [...aliases].filter(([, of]) => of === number).map(([name]) => name),
      derived: derived.map(({ key }) => key),
      warnings,
    };
  }

  /**
   * The next objects of a version, and what changed from its parent to it, ascending after a key; up to a key, or to the end
   * (null). Neither is more than `limit`, so that a version that lost millions is as little to hold as one that has them.
   */
  next(
    version: KeptVersion,
    after: string | null,
    limit: number,
  ): { rows: KeptRow[]; changes: Change[]; upTo: string | null } {
    const parent = version.parent === null ? null : this.get(version.parent);
    const present = take(
      this.#sql.exec<Record<string, SqlStorageValue>>(
        `SELECT ${selection("object")} FROM object WHERE key > ?1 AND seq <= ?2 ORDER BY key LIMIT ?3`,
        after ?? "",
        version.seq,
        limit,
      ),
      limit,
    );
    const past = this.#shadow(version.number, after, limit);
    const before = parent === null ? { rows: [], isCut: false } : this.#shadow(parent.number, after, limit);
    const ends = [present, past, before].flatMap(({ rows, isCut }) => (isCut ? (rows.at(-1)?.key ?? []) : []));
    const upTo = ends.toSorted(compareUtf8)[0] ?? null;
    const isNear = ({ key }: KeptRow) => upTo === null || compareUtf8(key, upTo) <= 0;
    const rows = merge(present.rows.filter(isNear), past.rows.filter(isNear));
    return { rows, changes: parent === null ? [] : changesOf(rows, before.rows.filter(isNear), parent.seq), upTo };
  }

  /** Rows as they were when a version was begun, of keys that changed since. */
  #shadow(version: number, after: string | null, limit: number): Taken {
    const shadow = this.#sql.exec<Record<string, SqlStorageValue>>(
      `SELECT ${selection("shadow")} FROM shadow WHERE version = ?1 AND key > ?2 ORDER BY key LIMIT ?3`,
      version,
      after ?? "",
      limit,
    );
    return take(shadow, limit);
  }

  /** Of these objects the keys of those that the last version has at these ETags, and that have changed since. */
  shadowed(objects: readonly { key: string; etag: string }[]): string[] {
    return pack(objects, { items: objects.length, weight: Number.POSITIVE_INFINITY }, () => 0).flatMap((some) =>
      this.#sql
        .exec<{ key: string }>(
          `SELECT shadow.key FROM json_each(?1) AS asked CROSS JOIN shadow
             ON shadow.version = ?2 AND shadow.key = asked.value ->> 'key' AND shadow.etag = asked.value ->> 'etag'`,
          JSON.stringify(some.map(({ key, etag }) => ({ key, etag }))),
          this.last?.version ?? 0,
        )
        .toArray()
        .map(({ key }) => key),
    );
  }

  /** Numbers of sealed versions below one. */
  sealedBefore(number: number): number[] {
    return this.#sql
      .exec<{ number: number }>(
        "SELECT number FROM version WHERE state = 'sealed' AND number < ? ORDER BY number DESC",
        number,
      )
      .toArray()
      .map((row) => row.number);
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
  clear(version: KeptVersion, limit: number): boolean {
    const { number, parent } = version;
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
    if (version.state === "sealed" && parent !== null) sweep("shadow", parent);
    return left > 0;
  }
}

/** Rows of one statement: a bound value is at most 2 MB. */
const ROWS_AT_ONCE = { items: 1000, weight: Number.POSITIVE_INFINITY };

const JSON_COLUMNS = ["aliases", "counts", "step", "index", "derived", "warnings", "document"] as const;
const SHADOW_COLUMNS = COLUMNS.map(([name]) => name).join(", ");

const json = (value: unknown): string | null => (value === null || value === undefined ? null : JSON.stringify(value));

/** What changed to these rows from what was before, by the parent's `seq`; rows that were there and are not were removed. */
function changesOf(rows: readonly KeptRow[], before: readonly KeptRow[], parentSeq: number): Change[] {
  const was = new Map(before.map((row) => [row.key, row]));
  const there = new Set(rows.map(({ key }) => key));
  return [
    ...rows
      .filter(({ seq }) => seq > parentSeq)
      .map((row): Change => ({ key: row.key, before: sideOf(was.get(row.key)), after: sideOf(row) })),
    ...before
      .filter(({ key }) => !there.has(key))
      .map((row): Change => ({ key: row.key, before: sideOf(row), after: null })),
  ]
    .filter((change) => JSON.stringify(change.before) !== JSON.stringify(change.after))
    .toSorted((a, b) => compareUtf8(a.key, b.key));
}

function sideOf(row: KeptRow | undefined): DiffSide | null {
  if (row === undefined) return null;
  const { size, etag, stage, category } = row;
  return { size, etag, stage, category };
}

interface Taken {
  rows: KeptRow[];
  /** Whether there may be more behind them. */
  isCut: boolean;
}

/** UTF-16 units of the rows of one list: with columns and Parquet beside them they are several times as many bytes. */
const UNITS_MAX = 4_000_000;

/** Rows from a cursor, as many as `limit` and memory allow. */
function take(cursor: Iterable<Record<string, SqlStorageValue>>, limit: number): Taken {
  const rows: KeptRow[] = [];
  let units = 0;
  for (const record of cursor) {
    const row = rowFrom(record);
    rows.push(row);
    units +=
      row.key.length + (row.sourceKey?.length ?? 0) + (row.contentType?.length ?? 0) + (row.category?.length ?? 0);
    units += row.tags === null ? 0 : JSON.stringify(row.tags).length;
    if (rows.length === limit || units > UNITS_MAX) return { rows, isCut: true };
  }
  return { rows, isCut: false };
}

/** Two ascending lists with no key in both. */
function merge(a: readonly KeptRow[], b: readonly KeptRow[]): KeptRow[] {
  if (b.length === 0) return [...a];
  const merged: KeptRow[] = [];
  let [i, j] = [0, 0];
  for (let [x, y] = [a[i], b[j]]; x !== undefined || y !== undefined; [x, y] = [a[i], b[j]]) {
    if (y === undefined || (x !== undefined && compareUtf8(x.key, y.key) < 0)) {
      if (x !== undefined) merged.push(x);
      i++;
    } else {
      merged.push(y);
      j++;
    }
  }
  return merged;
}
