import { BROKEN_NAMED_MAX, RECORDS_PLACES_MAX, RECORDS_STRIDE_BYTES } from "../limits.ts";
import { checkJson } from "./check-json.ts";
import { kindByFirstByte } from "./kind.ts";
import { type BrokenRecord, type Found, type Kind, type Resume, type Splitter, START } from "./record.ts";
import type { RecordIndex } from "./record-index.ts";
import { ArraySplitter } from "./split-array.ts";
import { LineSplitter } from "./split-lines.ts";

/** What is indexed. */
export type Indexed = Pick<RecordIndex, "key" | "etag" | "size" | "gzip" | "said">;

/** An object none of whose first records can be read is not one of records. */
const TRIAL_RECORDS = 1000;
/** Bytes among which the one that tells the kind must be. */
const HEAD_MAX_BYTES = 65_536;

export const splitterOf = (kind: Kind, from: Resume): Splitter =>
  kind === "lines" ? new LineSplitter(from) : new ArraySplitter(from);

/** Bytes between two places: so many that an index stays small, whatever the object's size (of gzip, at its largest). */
const strideOf = ({ size, gzip }: Indexed): number =>
  gzip ? 4 * RECORDS_STRIDE_BYTES : Math.max(RECORDS_STRIDE_BYTES, Math.ceil(size / RECORDS_PLACES_MAX));

/** Makes the index of an object from its bytes, in one pass, or in several that each go on where the one before stopped. */
export class IndexBuilder {
  readonly #indexed: Indexed;
  readonly #stride: number;
  readonly #places: number[];
  readonly #named: BrokenRecord[];
  /** The first bytes, as long as they do not tell the kind. */
  #head = new Uint8Array(0);
  #kind: Kind | null;
  #splitter: Splitter | null;
  #records: number;
  #broken: number;
  #lastOffset: number;
  #refused: RecordIndex["refused"] = null;

  /** @param begun the index as far as an earlier pass came; its `resume` is where the bytes begin that are pushed */
  constructor(indexed: Indexed, begun: RecordIndex | null = null) {
    this.#indexed = indexed;
    this.#stride = strideOf(indexed);
    this.#kind = begun?.kind ?? indexed.said.kind;
    this.#splitter = this.#kind === null ? null : splitterOf(this.#kind, begun?.resume ?? START);
    this.#places = [...(begun?.places ?? [])];
    this.#named = [...(begun?.named ?? [])];
    this.#records = begun?.records ?? 0;
    this.#broken = begun?.broken ?? 0;
    this.#lastOffset = this.#places.at(-4) ?? Number.NEGATIVE_INFINITY;
    const { encoding } = indexed.said;
    if (encoding !== null) this.refuse(`its Content-Encoding is "${encoding}", and only gzip is read.`);
  }

  /** Whether more bytes would change nothing: the object was found to be none of records. */
  get isOver(): boolean {
    return this.#refused !== null;
  }

  /** Where the first record begins that was not found whole. */
  get offset(): number {
    return this.#splitter?.resume.offset ?? 0;
  }

  push(chunk: Uint8Array): void {
    if (this.isOver) return;
    if (this.#splitter !== null) return this.#split(this.#splitter, chunk);
    this.#head = joined(this.#head, chunk);
    const kind = kindByFirstByte(this.#head);
    if (this.#head.length < 4 || (kind === null && this.#head.length < HEAD_MAX_BYTES)) return;
    this.#begin(kind ?? "lines");
  }

  /** The index after the object's last byte. */
  finish(): RecordIndex {
    if (this.#splitter === null) this.#begin(kindByFirstByte(this.#head) ?? "lines");
    for (const found of this.#splitter?.end() ?? []) this.#take(found);
    if (this.#records > 0 && this.#records === this.#broken) this.#refuseAll();
    return this.#index(null);
  }

  /** The index so far, to go on with later. */
  pause(): RecordIndex {
    return this.#index(this.#splitter?.resume ?? START);
  }

  /** Ends it: the object is not one of records, or not to its end. */
  refuse(why: string, code: "not-records" | "record-broken" = "not-records"): void {
    this.#refused ??= { code, detail: `"${this.#indexed.key}" cannot be read by record: ${why}` };
  }

  #begin(kind: Kind): void {
    this.#kind = kind;
    this.#splitter = splitterOf(kind, START);
    this.#split(this.#splitter, this.#head);
    this.#head = new Uint8Array(0);
  }

  #split(splitter: Splitter, chunk: Uint8Array): void {
    if (this.#records === 0 && chunk.includes(0))
      return this.refuse(`it holds NUL bytes, which JSON has not. ${NEITHER}`);
    for (const found of splitter.push(chunk)) {
      this.#take(found);
      if (this.isOver) return;
    }
    if (splitter.trailing === null) return;
    const where = `byte ${splitter.trailing}`;
    if (this.#records === 0 && this.#kind === "array")
      return this.refuse(`there is no array up to ${where}. ${NEITHER}`);
    this.refuse(
      `something follows the end of its array, at ${where}. If each of its lines is an array, ask for ?as=lines, or ` +
        "give it a name that ends in .jsonl.",
    );
  }

  #take({ bytes, start, end, offset, record, line, problem }: Found): void {
    if (offset - this.#lastOffset >= this.#stride) {
      this.#places.push(offset, record, line, this.#broken);
      this.#lastOffset = offset;
    }
    const reason = problem ?? checkJson(bytes, start, end);
    this.#records = record + 1;
    if (reason === null) return;
    this.#broken++;
    if (this.#named.length < BROKEN_NAMED_MAX) this.#named.push({ record, line, reason });
    // Of a JSON text on many lines, some are JSON by chance.
    if (record === 0 && this.#indexed.said.kind === null && this.#kind === "lines") return this.refuse(FIRST_LINE);
    if (this.#broken === TRIAL_RECORDS && this.#records === TRIAL_RECORDS) this.#refuseAll();
  }

  #refuseAll(): void {
    const [first] = this.#named;
    this.refuse(`none of its first ${this.#records} records is JSON (the first: ${first?.reason ?? ""}). ${NEITHER}`);
  }

  #index(resume: Resume | null): RecordIndex {
    const { key, etag, size, gzip, said } = this.#indexed;
    return {
      key,
      etag,
      size,
      gzip,
      said,
      kind: this.#kind ?? "lines",
      records: this.#records,
      broken: this.#broken,
      named: this.#named,
      places: Float64Array.from(this.#places),
      refused: this.#refused,
      resume: this.isOver ? null : resume,
    };
  }
}

const FIRST_LINE =
  "its first line is no JSON text, and nothing says that its lines are. If they are, ask for ?as=lines, or give it a name " +
  "that ends in .jsonl; if it is one JSON text, read it whole, at /d/<dataset>/<key>.";

const NEITHER =
  "Records are the lines of JSONL, or the elements of one JSON array, in UTF-8, also compressed by gzip; read other " +
  "objects by their bytes, at /d/<dataset>/<key>.";

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
