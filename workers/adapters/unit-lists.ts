import { type Failure, failure } from "../core/failure.ts";
import {
  findPages,
  formatUnitIndex,
  PageWriter,
  parsePage,
  parseUnitIndex,
  type PlacedPage,
  UNIT_FILE_BYTES,
  type UnitIndex,
  type UnitPage,
} from "../core/jobs/units/unit-file.ts";
import type { Unit } from "../core/jobs/units/unit.ts";
import { CONNECTIONS_MAX, UNITS_MAX } from "../core/limits.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import { ContentDigest } from "./content-digest.ts";
import { Digest } from "./exact-stream.ts";
import { forEachLimited } from "./for-each-limited.ts";
import { damaged } from "./index-pages.ts";
import { createR2Store } from "./r2-store.ts";
import { WeighedMemo } from "./weighed-memo.ts";

/** The lists of jobs' units, in the SYSTEM bucket: written once, before the job is there, and never changed. */
const folderOf = (jobId: string): string => `jobs/${jobId}/units/`;
const indexOf = (jobId: string): string => `${folderOf(jobId)}index.json`;

/** What this isolate keeps of lists, which never change: their indexes, and pages as they were parsed. */
const KEPT_BYTES = 6 * 1024 * 1024;
const kept = new WeighedMemo<UnitIndex | readonly Unit[]>(KEPT_BYTES);
/** What parsed JSON takes of memory, in bytes of its text: of short arrays of short texts and numbers. */
const PARSED_WEIGHT = 5;

/** What is said of a list: how many units it has, their bytes, and a digest in hex; how many parts, and bytes as it is stored. */
export interface UnitListSummary {
  count: number;
  bytes: number;
  digest: string;
  parts: number;
  listBytes: number;
}

/** What is read of units at once: of more of them, the first. */
export interface UnitBounds {
  parts: number;
  /** Of the list. */
  listBytes: number;
}
const UNBOUNDED: UnitBounds = { parts: Infinity, listBytes: Infinity };

/**
 * Writes the list of a job that is not there yet. Whatever ends it leaves objects that nobody names; where a unit is a failure,
 * they are deleted. `too-many-units` beyond `UNITS_MAX`, `empty-input` without any.
 *
 * @param content what the bytes of the units are; whole when the last of them is made
 */
export async function writeUnits(
  env: Env,
  jobId: string,
  units: AsyncIterable<Result<Unit>>,
  content = new ContentDigest(),
): Promise<Result<UnitListSummary>> {
  const writer = new ListWriter(createR2Store(env.SYSTEM), jobId);
  const failed = (await writer.takeAll(units)) ?? (await writer.finish(content));
  if (failed === null) return ok(writer.summary);
  await writer.undo();
  return fail(failed);
}

class ListWriter {
  readonly #store: ObjectStore;
  readonly #jobId: string;
  readonly #pages = new PageWriter();
  readonly #digest = new Digest("SHA-256");
  readonly #files: UnitIndex["files"] = [];
  /** Of the file that is being collected. */
  #collected: UnitPage[] = [];
  #collectedBytes = 0;
  #bytes = 0;
  #parts = 0;
  #listBytes = 0;
  #hash = "";

  constructor(store: ObjectStore, jobId: string) {
    this.#store = store;
    this.#jobId = jobId;
  }

  get summary(): UnitListSummary {
    const [count, bytes, digest] = [this.#pages.count, this.#bytes, this.#hash];
    return { count, bytes, digest, parts: this.#parts, listBytes: this.#listBytes };
  }

  async takeAll(units: AsyncIterable<Result<Unit>>): Promise<Failure | null> {
    for await (const unit of units) {
      if (!unit.ok) return unit.failure;
      if (this.#pages.count === UNITS_MAX) return tooManyUnits();
      this.#bytes += unit.value.bytes;
      this.#parts += unit.value.parts.length;
      const page = this.#pages.push(unit.value);
      const failed = page === null ? null : await this.#collect(page);
      if (failed !== null) return failed;
    }
    return null;
  }

  /** Writes what is left, and the index, which is the last object: who finds it finds the others. */
  async finish(content: ContentDigest): Promise<Failure | null> {
    const last = this.#pages.end();
    if (last === null) {
      const detail = "The input has nothing to hand out; name what the version holds.";
      return failure("empty-input", detail, { field: "input" });
    }
    const failed = (await this.#collect(last)) ?? (await this.#writeFile());
    if (failed !== null) return failed;
    await this.#digest.write(new TextEncoder().encode(await content.finish()));
    await this.#digest.close();
    this.#hash = (await this.#digest.bytes).toHex();
    const { count, bytes, digest } = this.summary;
    const text = formatUnitIndex({ v: 1, units: count, bytes, digest, files: this.#files });
    const put = await this.#put(indexOf(this.#jobId), new TextEncoder().encode(text), "application/json");
    return put.ok ? null : put.failure;
  }

  /** Deletes the files that were written; the index, without which they are nobody's, is the last to be. */
  async undo(): Promise<void> {
    const keys = this.#files.map((_, n) => `${folderOf(this.#jobId)}${n}`);
    await forEachLimited(keys, CONNECTIONS_MAX, async (key) => void (await this.#store.delete(key)));
  }

  async #collect(page: UnitPage): Promise<Failure | null> {
    const isFull = this.#collectedBytes > 0 && this.#collectedBytes + page.bytes.length > UNIT_FILE_BYTES;
    const failed = isFull ? await this.#writeFile() : null;
    if (failed !== null) return failed;
    this.#collected.push(page);
    this.#collectedBytes += page.bytes.length;
    this.#listBytes += page.bytes.length;
    await this.#digest.write(page.bytes);
    return null;
  }

  async #writeFile(): Promise<Failure | null> {
    const file = new Uint8Array(this.#collectedBytes);
    const pages: [number, number, number][] = [];
    let at = 0;
    for (const { first, bytes } of this.#collected) {
      file.set(bytes, at);
      pages.push([first, at, bytes.length]);
      at += bytes.length;
    }
    const put = await this.#put(`${folderOf(this.#jobId)}${this.#files.length}`, file, "application/octet-stream");
    if (!put.ok) return put.failure;
    this.#files.push({ etag: put.value.etag, pages });
    [this.#collected, this.#collectedBytes] = [[], 0];
    return null;
  }

  #put(key: string, bytes: Uint8Array, contentType: string) {
    return this.#store.put(key, bytes, { size: bytes.length, http: { contentType }, custom: {}, onlyIf: "absent" });
  }
}

const tooManyUnits = (): Failure =>
  failure(
    "too-many-units",
    `The input is more than ${UNITS_MAX} units; give units.targetBytes a larger number, or name fewer objects.`,
    { field: "units.targetBytes" },
  );

/** Deletes the list of a job that nobody reads any more, or what there is of one; safe to do again. */
export async function removeUnits(env: Env, jobId: string): Promise<Result<null>> {
  const store = createR2Store(env.SYSTEM);
  for (;;) {
    const page = await store.list({ prefix: folderOf(jobId), after: null });
    if (!page.ok) return page;
    // In one request, and that of all there is, but for the largest lists.
    const keys = page.value.objects.map(({ key }) => key);
    try {
      if (keys.length > 0) await env.SYSTEM.delete(keys);
    } catch (error) {
      return fail(failure("store-unavailable", `R2 did not delete the list of the job's units: ${String(error)}`));
    }
    if (page.value.next === null) return ok(null);
  }
}

/**
 * The units of these numbers, in their order; the first of them, and one at least, where all are more than the bounds. They may be
 * shared: who gets them changes nothing of them. `version-damaged` where the list is missing, or is not what was written.
 */
export async function readUnits(
  env: Env,
  jobId: string,
  numbers: readonly number[],
  bounds: UnitBounds = UNBOUNDED,
): Promise<Result<Unit[]>> {
  const store = createR2Store(env.SYSTEM);
  const index = await readIndex(store, jobId);
  if (!index.ok) return index;
  const pages = findPages(index.value, numbers);
  if (pages === null) {
    return fail(failure("version-damaged", `The job has ${index.value.units} units, and not all that were asked for.`));
  }
  const wanted = new Set(numbers);
  const found = new Map<number, Unit>();
  const units: Unit[] = [];
  let [read, listBytes, parts] = [0, 0, 0];
  for (const number of numbers) {
    // Pages come in the order in which they are needed, so that what is needed is among the next of them.
    while (!found.has(number)) {
      const next = pages.slice(read, read + CONNECTIONS_MAX).filter((page, n) => {
        listBytes += page.length;
        return listBytes <= bounds.listBytes || read + n === 0;
      });
      if (next.length === 0) return ok(units);
      const failed = await readInto(found, store, jobId, next, wanted);
      if (failed !== null) return fail(failed);
      read += next.length;
    }
    const unit = found.get(number);
    parts += unit?.parts.length ?? 0;
    if (unit === undefined || (units.length > 0 && parts > bounds.parts)) break;
    units.push(unit);
  }
  return ok(units);
}

/** Reads these pages, and takes what is wanted of them. */
async function readInto(
  found: Map<number, Unit>,
  store: ObjectStore,
  jobId: string,
  pages: readonly PlacedPage[],
  wanted: ReadonlySet<number>,
): Promise<Failure | null> {
  let failed: Failure | null = null;
  await forEachLimited(pages, CONNECTIONS_MAX, async (page) => {
    if (failed !== null) return;
    const units = await readPage(store, jobId, page);
    if (!units.ok) failed = units.failure;
    else for (const [n, unit] of units.value.entries()) if (wanted.has(page.first + n)) found.set(page.first + n, unit);
  });
  return failed;
}

async function readIndex(store: ObjectStore, jobId: string): Promise<Result<UnitIndex>> {
  const key = indexOf(jobId);
  const held = kept.get(key) as UnitIndex | null;
  if (held !== null) return ok(held);
  const text = await readText(store, key, {});
  if (!text.ok) return text;
  const index = parseUnitIndex(text.value);
  if (index === null) return fail(notWritten(key));
  kept.set(key, index, PARSED_WEIGHT * text.value.length);
  return ok(index);
}

/** A page, pinned to the ETag of its file: R2's word that it is what was written. */
async function readPage(
  store: ObjectStore,
  jobId: string,
  { file, etag, offset, length, first, end }: PlacedPage,
): Promise<Result<readonly Unit[]>> {
  const key = `${folderOf(jobId)}${file}`;
  const name = `${key}#${first}`;
  const held = kept.get(name) as readonly Unit[] | null;
  if (held !== null) return ok(held);
  const range = { kind: "bounded" as const, start: offset, end: offset + length - 1 };
  const text = await readText(store, key, { range, ifMatch: etag });
  if (!text.ok) return text;
  const units = parsePage(text.value);
  if (units?.length !== end - first) return fail(notWritten(key));
  kept.set(name, units, PARSED_WEIGHT * text.value.length);
  return ok(units);
}

async function readText(
  store: ObjectStore,
  key: string,
  options: Parameters<ObjectStore["get"]>[1],
): Promise<Result<string>> {
  const got = await store.get(key, options);
  if (!got.ok) return fail(damaged(got.failure, key));
  const text = await new Response(got.value.body).text().catch(() => null);
  return text === null
    ? fail(failure("store-unavailable", `R2 broke off in the middle of "${key}"; ask again.`))
    : ok(text);
}

const notWritten = (key: string): Failure =>
  failure("version-damaged", `"${key}" in the bucket SYSTEM is not what was written.`);
