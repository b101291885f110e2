import { type Stage, STAGES, type StoredRow } from "../../workers/core/manifest/row.ts";
import { lastSegment, type RegistryEntry } from "../../workers/core/manifest/registry.ts";
import { type AskedEntry, findEntry, type FoundEntry } from "../../workers/core/manifest/registry-diff.ts";
import { chooseStage, NAMED_MAX, type Resolution } from "../../workers/core/manifest/resolve.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import { rowFrom, Rows, selection } from "./rows.ts";
import { LAST_SEGMENT } from "./schema.ts";

/** A registry's entry as it is kept; `key` is null where its path led to no object. */
export interface KeptEntry extends RegistryEntry {
  key: string | null;
}

type Record_ = Record<string, SqlStorageValue>;

/** Names that people give: the last segments of keys that have a stage, and the owner's registry. */
export class Names {
  readonly #sql: SqlStorage;
  readonly #rows: Rows;

  constructor(sql: SqlStorage, rows: Rows) {
    this.#sql = sql;
    this.#rows = rows;
  }

  resolve(name: string, category: string | null, order: readonly Stage[]): Resolution {
    const ofStage = new Map(STAGES.map((stage) => [stage, this.named(name, stage, category)]));
    return { registered: this.#registered(name, category), ...chooseStage(order, category, ofStage) };
  }

  /** Some objects by a name in a stage: those in the category first, if one is wanted. */
  named(name: string, stage: Stage, category: string | null): StoredRow[] {
    const select = `SELECT ${selection("object")} FROM object INDEXED BY object_name WHERE ${LAST_SEGMENT} = ? AND stage = ?`;
    const wanted =
      category === null
        ? []
        : this.#sql.exec<Record_>(`${select} AND category = ? LIMIT ?`, name, stage, category, NAMED_MAX + 1).toArray();
    const any = this.#sql.exec<Record_>(`${select} LIMIT ?`, name, stage, NAMED_MAX + 1).toArray();
    const rows = [...wanted, ...any].map(rowFrom);
    return [...new Map(rows.map((row) => [row.key, row])).values()];
  }

  #registered(name: string, category: string | null): Resolution["registered"] {
    const entries = this.#sql
      .exec<{ category: string; key: string }>(
        "SELECT category, key FROM registry WHERE name = ?1 AND key IS NOT NULL AND (?2 IS NULL OR category = ?2) LIMIT ?3",
        name,
        category,
        NAMED_MAX + 1,
      )
      .toArray();
    const rows = this.#rows.mapOf(entries);
    return entries.map((entry) => ({
      category: entry.category === "" ? null : entry.category,
      key: entry.key,
      row: rows.get(entry.key) ?? null,
    }));
  }

  /** What entries of a registry file are in the manifest: by their paths, or else by the names that those end with. */
  find(asked: readonly AskedEntry[], order: readonly Stage[]): FoundEntry[] {
    const known = this.#known(asked.flatMap(({ keys }) => keys));
    const byName = ({ path, category }: RegistryEntry): string[] => {
      const name = lastSegment(path);
      const within = category === null ? [] : this.#chosen(name, category, order);
      return within.length > 0 ? within : this.#chosen(name, null, order);
    };
    return asked.map((each) => findEntry(each, (key) => known.has(key), byName));
  }

  #chosen(name: string, category: string | null, order: readonly Stage[]): string[] {
    const ofStage = new Map(order.map((stage) => [stage, this.named(name, stage, category)]));
    return chooseStage(order, category, ofStage).found.map(({ key }) => key);
  }

  #known(keys: readonly string[]): Set<string> {
    const some = pack(keys, { items: keys.length, weight: Number.POSITIVE_INFINITY }, () => 0).flatMap((chunk) =>
      this.#sql
        .exec<{ key: string }>(
          "SELECT object.key FROM json_each(?) AS wanted CROSS JOIN object ON object.key = wanted.value",
          JSON.stringify(chunk),
        )
        .toArray(),
    );
    return new Set(some.map(({ key }) => key));
  }

  /** Puts a registry in the place of the one there is. Whoever calls is in a transaction. */
  setRegistry(entries: readonly KeptEntry[]): void {
    this.#sql.exec("DELETE FROM registry");
    const values = entries.map(({ name, category, path, key, more }) => [name, category ?? "", path, key, more]);
    for (const some of pack(values, { items: values.length, weight: Number.POSITIVE_INFINITY }, () => 0)) {
      this.#sql.exec(
        `INSERT INTO registry (name, category, path, key, more)
           SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?)`,
        JSON.stringify(some),
      );
    }
  }

  get registry(): KeptEntry[] {
    return this.#sql
      .exec<{ name: string; category: string; path: string; key: string | null; more: string | null }>(
        "SELECT name, category, path, key, more FROM registry ORDER BY name, category",
      )
      .toArray()
      .map(({ category, ...entry }) => ({ ...entry, category: category === "" ? null : category }));
  }
}
