import { failure } from "../failure.ts";
import { checkKey } from "../http/key-path.ts";
import { storeKey } from "../migration/join.ts";
import { fail, ok, type Result } from "../result.ts";

/** Entries of one registry. */
const REGISTRY_MAX = 10_000;
/** UTF-16 units of a name or a category. */
const NAME_MAX = 256;
/** UTF-16 units of a path, and of an entry's other fields as JSON: an entry is one row, and far less than a row may hold. */
const PATH_MAX = 4096;
const MORE_MAX = 65_536;
/** Objects and lists within one another, in an entry's other fields. */
const DEPTH_MAX = 32;

/** One name of a registry file: a path by itself, or an object with the path and what else its owner says of it. */
export interface RegistryEntry {
  /** Null at the top level of the file. */
  category: string | null;
  name: string;
  path: string;
  /** The other fields of the entry as JSON, kept as they are; null where it is a path by itself. */
  more: string | null;
}

/**
 * Reads a registry file: `{ "name": "path" }` or `{ "name": { "path": ..., ... } }`, either one below a category. An object
 * without a `path` that is text is a category. Names and categories are brought to Unicode NFC, in which they are asked for.
 */
export function parseRegistry(file: Readonly<Record<string, unknown>>): Result<RegistryEntry[]> {
  const entries: RegistryEntry[] = [];
  const unkept = whatIsNotKept(file, "", 0);
  if (unkept !== null) return refuse(unkept.at, unkept.rule);
  for (const [name, value] of Object.entries(file)) {
    const entry = entryOf(null, name, value);
    if (entry !== null) {
      entries.push(entry);
      continue;
    }
    if (!isObject(value)) return refuse(name, NEITHER);
    for (const [inner, innerValue] of Object.entries(value)) {
      const nested = entryOf(name, inner, innerValue);
      if (nested === null) return refuse(`${name}.${inner}`, NEITHER);
      entries.push(nested);
    }
  }
  const seen = new Set<string>();
  for (const entry of entries) {
    const at = entry.category === null ? entry.name : `${entry.category}.${entry.name}`;
    // Neither has a NUL in it.
    const name = `${entry.category ?? ""}\0${entry.name}`;
    const rule = wrongIn(entry) ?? (seen.has(name) ? "is there twice, in two spellings of one Unicode name" : null);
    if (rule !== null) return refuse(at, rule);
    seen.add(name);
  }
  if (entries.length > REGISTRY_MAX)
    return refuse("", `has ${entries.length} names; a dataset's has at most ${REGISTRY_MAX}`);
  return ok(entries);
}

const NEITHER = 'is neither a path, nor an object with a "path", nor a category of such';

function refuse(at: string, rule: string): Result<never> {
  const field = at === "" ? "registry" : `registry.${at.slice(0, 200)}`;
  return fail(failure("invalid-body", `${field}: ${rule}.`, { field }));
}

function wrongIn({ name, category, path, more }: RegistryEntry): string | null {
  if (isOdd(name) || (category !== null && isOdd(category)))
    return `has a name and a category of 1 to ${NAME_MAX} characters`;
  if (path === "" || path.length > PATH_MAX || !path.isWellFormed())
    return `has a path of 1 to ${PATH_MAX} characters, in Unicode`;
  if ((more?.length ?? 0) > MORE_MAX)
    return `has other fields of ${more?.length ?? 0} characters as JSON, and at most ${MORE_MAX} are kept`;
  return null;
}

/** What would come back as something else than it was: it is refused, and not kept wrong. */
function whatIsNotKept(value: unknown, at: string, depth: number): { at: string; rule: string } | null {
  if (Number.isInteger(value) && !Number.isSafeInteger(value))
    return { at, rule: "is a number beyond 2^53, which JSON readers round; write it as text" };
  if (typeof value !== "object" || value === null) return null;
  if (depth > DEPTH_MAX) return { at, rule: `lies more than ${DEPTH_MAX} objects deep` };
  for (const [name, inner] of Object.entries(value)) {
    const inside = at === "" ? name : `${at}.${name}`;
    if (name === "__proto__") return { at: inside, rule: "is a name that JSON readers lose; choose another" };
    const found = whatIsNotKept(inner, inside, depth + 1);
    if (found !== null) return found;
  }
  return null;
}

const isOdd = (text: string): boolean =>
  text === "" || text.length > NAME_MAX || !text.isWellFormed() || text.includes("\0");
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function entryOf(saidCategory: string | null, saidName: string, value: unknown): RegistryEntry | null {
  const [category, name] = [saidCategory === null ? null : storeKey(saidCategory), storeKey(saidName)];
  if (typeof value === "string") return { category, name, path: value, more: null };
  if (!isObject(value) || typeof value["path"] !== "string") return null;
  const { path, ...more } = value;
  return { category, name, path, more: JSON.stringify(more) };
}

/** The file again, in the same shape. */
export function formatRegistry(entries: readonly RegistryEntry[]): Record<string, unknown> {
  const valueOf = ({ path, more }: RegistryEntry) => (more === null ? path : { path, ...(JSON.parse(more) as object) });
  const top = entries.filter(({ category }) => category === null);
  const byCategory = Map.groupBy(
    entries.filter(({ category }) => category !== null),
    ({ category }) => category ?? "",
  );
  // Not by assignment: a registry that was kept before it was refused may have the name "__proto__".
  return Object.fromEntries([
    ...top.map((entry): [string, unknown] => [entry.name, valueOf(entry)]),
    ...[...byCategory].map(([category, some]): [string, unknown] => [
      category,
      Object.fromEntries(some.map((entry) => [entry.name, valueOf(entry)])),
    ]),
  ]);
}

/** A bucket, and the prefix in it that is the dataset's. */
export interface Holding {
  bucket: string;
  prefix: string;
}

/**
 * Keys that a path may mean, the likeliest first: the path itself; what is left of an `s3://` URL, or of a path that begins
 * with the bucket, behind a prefix that is the dataset's; what is left of the path behind the prefix alone.
 */
export function keysOfPath(path: string, holdings: readonly Holding[]): string[] {
  const url = /^(?:s3|r2|s3a):\/\//i.exec(path)?.[0];
  const plain = url === undefined ? path.replace(/^(?:\.?\/)+/, "") : path.slice(url.length);
  const within = holdings.flatMap(({ bucket, prefix }) => [
    ...behind(plain, `${bucket}/${prefix}`),
    ...(url === undefined ? behind(plain, prefix) : []),
  ]);
  const asIs = url === undefined ? [path, plain] : [];
  const keys = [...asIs, ...within].map((key) => key.normalize("NFC")).filter((key) => checkKey(key).ok);
  return [...new Set(keys)];
}

const behind = (text: string, start: string): string[] => (text.startsWith(start) ? [text.slice(start.length)] : []);

/** A key's last segment. */
export const lastSegment = (key: string): string => key.slice(key.lastIndexOf("/") + 1);
