import { type Failure, failure } from "../../workers/core/failure.ts";
import type {
  Derived,
  SealedIndex,
  VersionCounts,
  VersionInfo,
  VersionName,
  VersionState,
} from "../../workers/core/manifest/version.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { Shadow } from "./shadow.ts";
import { totalsOf } from "./totals.ts";

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
  | { do: "rows"; after: string | null }
  | { do: "changes"; next: Step }
  | { do: "index"; part: number; uploadId: string | null; etags: string[] }
  | { do: "derive" }
  | { do: "publish" }
  | { do: "clear" };

const VERSION_COLUMNS = `number, state, problem, note, seq, parent, created_at AS createdAt, sealed_at AS sealedAt, aliases, counts,
  salt, step, retry_at AS retryAt, tries, idx AS "index", derived, warnings, document`;

/** The versions of a dataset. Whoever calls is in one turn of the object. */
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
        JSON.stringify(totalsOf(this.#sql)),
        salt,
        JSON.stringify({ do: "rows", after: null } satisfies Step),
      )
      .one();
    this.#last = undefined;
    return ok({ number, created: true });
  }

  get(number: number): KeptVersion | null {
    return this.#select("WHERE number = ?", number)[0] ?? null;
  }

  parentOf({ parent }: KeptVersion): KeptVersion | null {
    return parent === null ? null : this.get(parent);
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
      `UPDATE version SET step = ?2, tries = 0, retry_at = 0, problem = iif(state = 'failed', problem, NULL), idx = coalesce(?3, idx),
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
    const version = this.get(number);
    new Shadow(this.#sql).giveBack(number, version === null ? null : this.parentOf(version));
    this.#sql.exec(
      "UPDATE version SET state = 'failed', problem = ?, step = ? WHERE number = ?",
      problem,
      json({ do: "clear" }),
      number,
    );
    this.#last = undefined;
  }

  /** False where it held already. */
  hold(who: string, until: number): boolean {
    const isFirst = this.#sql.exec("SELECT 1 FROM hold WHERE who = ?", who).toArray().length === 0;
    this.#sql.exec("INSERT OR REPLACE INTO hold (who, until) VALUES (?, ?)", who, until);
    return isFirst;
  }

  release(who: string): void {
    this.#sql.exec("DELETE FROM hold WHERE who = ?", who);
  }

  /** Whoever keeps versions from being begun; null for nobody. */
  heldBy(now: number): string | null {
    this.#sql.exec("DELETE FROM hold WHERE until < ?", now);
    return this.#sql.exec<{ who: string }>("SELECT who FROM hold LIMIT 1").toArray()[0]?.who ?? null;
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
}

const JSON_COLUMNS = ["aliases", "counts", "step", "index", "derived", "warnings", "document"] as const;

const json = (value: unknown): string | null => (value === null || value === undefined ? null : JSON.stringify(value));
