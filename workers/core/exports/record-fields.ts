/** What fields the records of an object have, as far as its first ones tell. */

/** Of a value: JSON's types, with numbers told apart by how they are written, and texts that are dates of ISO 8601. */
type Seen = "null" | "boolean" | "integer" | "real" | "date" | "datetime" | "text" | "object" | "array";

interface Shape {
  seen: Set<Seen>;
  /** How many of the objects around it had it, and how many objects it was itself. */
  times: number;
  objects: number;
  members: Map<string, Shape>;
  element: Shape | null;
}

export const DATA_TYPES = ["Boolean", "Integer", "Float", "Date", "DateTime", "Text"] as const;
export type DataType = (typeof DATA_TYPES)[number];

/** A value that can be had from every record: a scalar, or an array of them of so many dimensions. */
export interface Leaf {
  path: readonly string[];
  type: DataType;
  dimensions: number;
  /** Whether it is in every object that it is looked for in. */
  isAlways: boolean;
}

/** A member of the records: one value, or an object (or each of an array of them) with values in it. */
export interface RecordField {
  name: string;
  /** Whether it is in all of the records. */
  isAlways: boolean;
  /** Whether all its values are numbers large enough to be seconds since 1970 of a year after the first. */
  isLikeTime: boolean;
  content: { kind: "leaf"; leaf: Leaf } | { kind: "object" | "objects"; leaves: Leaf[] };
}

export interface RecordFields {
  fields: RecordField[];
  /** Paths of what has no one type, or lies too deep. */
  leftOut: string[];
  /** Records that were looked at. */
  records: number;
}

/** Fields beyond these are left out: a document with more describes nothing. */
const FIELDS_MAX = 200;
const DEPTH_MAX = 4;
/** pandas takes a number for a time from a year after 1970 on, in seconds. */
const TIME_MIN = 31_536_000;

/** @param texts records as JSON; those that are none, or no object, tell nothing */
export function inferFields(texts: readonly string[]): RecordFields {
  const root = emptyShape();
  const numbers = new Map<string, boolean>();
  for (const text of texts) {
    const record = parse(text);
    if (!isObject(record)) continue;
    observe(root, record, 0);
    for (const [name, value] of Object.entries(record)) {
      if (value === null) continue;
      numbers.set(name, (numbers.get(name) ?? true) && Number(value instanceof Real ? value.value : value) > TIME_MIN);
    }
  }
  const fields: RecordField[] = [];
  const leftOut: string[] = [];
  for (const [name, shape] of root.members) {
    const content = fields.length < FIELDS_MAX ? contentOf(name, shape, leftOut) : null;
    if (content === null) leftOut.push(name);
    else fields.push({ name, isAlways: shape.times === root.objects, isLikeTime: numbers.get(name) ?? false, content });
  }
  return { fields, leftOut, records: root.objects };
}

function contentOf(name: string, shape: Shape, leftOut: string[]): RecordField["content"] | null {
  const leaf = leafOf([name], shape);
  if (leaf !== null) return { kind: "leaf", leaf };
  const inside = only(shape, "array") ? shape.element : shape;
  if (inside === null || !only(inside, "object")) return null;
  const leaves: Leaf[] = [];
  collect({ shape: inside, path: [], isAlways: inside.objects === shape.times }, leaves, (path) =>
    leftOut.push([name, ...path].join(".")),
  );
  return leaves.length === 0 ? null : { kind: inside === shape ? "object" : "objects", leaves };
}

/** The leaves within an object, however deep; of arrays of objects within it nothing is told. */
function collect(
  from: { shape: Shape; path: readonly string[]; isAlways: boolean },
  leaves: Leaf[],
  leaveOut: (path: readonly string[]) => void,
): void {
  for (const [name, member] of from.shape.members) {
    const path = [...from.path, name];
    const isAlways = from.isAlways && member.times === from.shape.objects;
    const leaf = leaves.length < FIELDS_MAX ? leafOf(path, member) : null;
    if (leaf !== null) leaves.push({ ...leaf, isAlways });
    else if (only(member, "object") && path.length < DEPTH_MAX) {
      collect({ shape: member, path, isAlways: isAlways && member.objects === member.times }, leaves, leaveOut);
    } else leaveOut(path);
  }
}

function leafOf(path: readonly string[], shape: Shape): Leaf | null {
  let [dimensions, at]: [number, Shape | null] = [0, shape];
  while (at !== null && only(at, "array")) [dimensions, at] = [dimensions + 1, at.element];
  const type = at === null ? "Text" : typeOf(at.seen);
  return type === null ? null : { path, type, dimensions, isAlways: true };
}

/** Of what was only ever null, or an empty array, any type is as good as another. */
function typeOf(all: ReadonlySet<Seen>): DataType | null {
  const seen = new Set([...all].filter((each) => each !== "null"));
  const isOf = (...types: Seen[]): boolean => [...seen].every((each) => types.includes(each));
  if (seen.size === 0) return "Text";
  if (isOf("boolean")) return "Boolean";
  if (isOf("integer")) return "Integer";
  if (isOf("integer", "real")) return "Float";
  if (isOf("date")) return "Date";
  if (isOf("date", "datetime")) return "DateTime";
  return isOf("boolean", "integer", "real", "date", "datetime", "text") ? "Text" : null;
}

const only = ({ seen }: Shape, type: Seen): boolean =>
  seen.has(type) && [...seen].every((each) => each === type || each === "null");

const emptyShape = (): Shape => ({ seen: new Set(), times: 0, objects: 0, members: new Map(), element: null });

function observe(shape: Shape, value: unknown, depth: number): void {
  const seen = seenOf(value);
  shape.seen.add(seen);
  if (depth > DEPTH_MAX) return;
  if (Array.isArray(value)) {
    for (const element of value) observe((shape.element ??= emptyShape()), element, depth + 1);
  } else if (isObject(value)) {
    shape.objects++;
    for (const [name, member] of Object.entries(value)) {
      const known = shape.members.get(name) ?? emptyShape();
      known.times++;
      observe(known, member, depth + 1);
      shape.members.set(name, known);
    }
  }
}

const DATE = /^\d{4}-\d{2}-\d{2}$/;
const DATETIME = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?$/;

function seenOf(value: unknown): Seen {
  if (value === null) return "null";
  if (value instanceof Real) return "real";
  if (typeof value === "boolean") return "boolean";
  if (typeof value === "number") return "integer";
  if (typeof value === "string") return DATE.test(value) ? "date" : DATETIME.test(value) ? "datetime" : "text";
  return Array.isArray(value) ? "array" : "object";
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Real);

/** A number that is written with a fraction or an exponent: "1.0" is no integer, for the next one may be "1.5". */
class Real {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

function parse(text: string): unknown {
  try {
    // The third argument is of ECMAScript 2026; TypeScript's library does not have it yet.
    return JSON.parse(text, (_key, value: unknown, context?: { source?: string }) =>
      typeof value === "number" && /[.eE]/.test(context?.source ?? String(value)) ? new Real(value) : value,
    );
  } catch {
    return undefined;
  }
}
