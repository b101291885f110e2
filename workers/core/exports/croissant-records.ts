import type { Kind } from "../records/record.ts";
import { idOf } from "./croissant.ts";
import type { Leaf, RecordField, RecordFields } from "./record-fields.ts";

/** The record set of one file; null where its records have no fields that can be described. */
export function formatRecordSet(key: string, kind: Kind, found: RecordFields): string | null {
  const id = idOf("records", key);
  const source = { fileObject: { "@id": idOf("files", key) } };
  const field = kind === "lines" ? fieldOfLines : fieldsOfArray;
  const fieldId = fieldIdsOf(key);
  const fields = found.fields.flatMap((each) => field(each, fieldId, source));
  if (fields.length === 0) return null;
  const told = new Set(found.fields.filter((each) => field(each, fieldId, source).length > 0));
  const leftOut = [...found.leftOut, ...found.fields.filter((each) => !told.has(each)).map(({ name }) => name)];
  const first = found.records === 1 ? "the first record" : `the first ${found.records} records`;
  const rest = leftOut.length === 0 ? "" : ` Not described: ${leftOut.slice(0, 20).join(", ").slice(0, 2000)}.`;
  const description = `The records of ${key}; the fields are those of ${first}.${rest}`;
  return JSON.stringify({ "@type": "cr:RecordSet", "@id": id, name: key, description, field: fields });
}

/** Records of a table whose columns are known, as of a Parquet file. */
export function formatTable(
  key: string,
  description: string,
  columns: readonly (readonly [string, "Text" | "Integer"])[],
): string {
  const id = idOf("records", key);
  const fieldId = fieldIdsOf(key);
  const field = columns.map(([name, type]) => ({
    ...node(fieldId([name]), name),
    dataType: `sc:${type}`,
    source: { fileObject: { "@id": idOf("files", key) }, extract: { column: name } },
  }));
  return JSON.stringify({ "@type": "cr:RecordSet", "@id": id, name: key, description, field });
}

/** Ids of fields by their paths in a record. */
type FieldIds = (path: readonly string[]) => string;

/** They lie in a folder that no key can have, below the key as one segment: a key may begin with another and a field's name. */
function fieldIdsOf(key: string): FieldIds {
  const folder = `fields/${idPart(key)}`;
  return (path) => [folder, ...path.map(idPart)].join("/");
}

interface FileSource {
  fileObject: { "@id": string };
}

/** Of JSONL, mlcroissant makes a table by pandas: a member is a column, and what is within it has a path from there. */
function fieldOfLines(field: RecordField, idOfField: FieldIds, file: FileSource): object[] {
  const { name, content } = field;
  const id = idOfField([name]);
  const column = { ...file, extract: { column: name } };
  if (content.kind === "leaf") {
    const type = isTakenForTime(field) ? "DateTime" : content.leaf.type;
    return [{ ...node(id, name), ...typeOf({ ...content.leaf, type }), source: column }];
  }
  const subField = content.leaves
    .filter(({ path }) => path.every(isInPath))
    .map((leaf) => ({
      ...node(idOfField([name, ...leaf.path]), leaf.path.join(".")),
      ...typeOf(leaf),
      source: { ...column, transform: { jsonPath: `$${jsonPath(leaf.path)}` } },
    }));
  if (subField.length === 0) return [];
  return [{ ...node(id, name), ...(content.kind === "objects" ? ARRAY : {}), subField }];
}

/**
 * Of a JSON array, mlcroissant finds the values of each path by themselves and lays them side by side: only what is in every
 * record stays in its row. Sub-fields it does not find at all, so that what is within an object is a field beside it.
 */
function fieldsOfArray({ name, isAlways, content }: RecordField, idOfField: FieldIds, file: FileSource): object[] {
  if (!isAlways || content.kind === "objects" || !isInPath(name)) return [];
  const leaves =
    content.kind === "leaf" ? [content.leaf] : content.leaves.map((leaf) => ({ ...leaf, path: [name, ...leaf.path] }));
  return leaves
    .filter((leaf) => leaf.isAlways && leaf.path.every(isInPath))
    .map((leaf) => ({
      ...node(idOfField(leaf.path), leaf.path.join(".")),
      ...typeOf(leaf),
      source: { ...file, extract: { jsonPath: `$[*]${jsonPath(leaf.path)}` } },
    }));
}

const node = (id: string, name: string) => ({ "@type": "cr:Field", "@id": id, name });

const ARRAY = { isArray: true, arrayShape: "-1" } as const;

const typeOf = ({ type, dimensions }: Pick<Leaf, "type" | "dimensions">): object => ({
  dataType: `sc:${type}`,
  ...(dimensions === 0 ? {} : { isArray: true, arrayShape: Array.from({ length: dimensions }, () => "-1").join(",") }),
});

/** pandas makes times of numbers in columns of such names (`read_json`, `keep_default_dates`), whatever is said of them. */
const isTakenForTime = ({ name, isLikeTime, content }: RecordField): boolean =>
  content.kind === "leaf" &&
  content.leaf.dimensions === 0 &&
  (content.leaf.type === "Integer" || content.leaf.type === "Float") &&
  isLikeTime &&
  /(?:_at|_time)$|^(?:modified|date|datetime)$|^timestamp/.test(name.toLowerCase());

/** One segment of an IRI's path; dots by themselves would be resolved away. */
const idPart = (name: string): string =>
  encodeURIComponent(name.toWellFormed()).replace(/^\.{1,2}$/, (dots) => "%2E".repeat(dots.length));

/** mlcroissant's parser of paths knows no escapes within quotes. */
const isInPath = (name: string): boolean => name !== "" && !/['\\]/.test(name) && name.isWellFormed();

const jsonPath = (path: readonly string[]): string =>
  path.map((name) => (/^[A-Za-z_]\w*$/.test(name) ? `.${name}` : `['${name}']`)).join("");
