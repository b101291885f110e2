import type { ContentDigest } from "../../adapters/content-digest.ts";
import { r2StoreOf } from "../../adapters/r2-stores.ts";
import { groupsIn, type SizedKey, walkKeys } from "../../adapters/version-keys.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { checkKey } from "../../core/http/key-path.ts";
import type { KeyRange } from "../../core/jobs/units/key-ranges.ts";
import type { Part } from "../../core/jobs/units/unit.ts";
import { folderOf, type JobInput } from "../../core/jobs/request.ts";
import { UNITS_MAX, ZARR_DOCUMENT_MAX_BYTES } from "../../core/limits.ts";
import type { SealedFile } from "../../core/manifest/version.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { type ChunkSelection, planSelection, sliceOf, type Span } from "../../core/zarr/chunk-selection.ts";
import { type ChunkGrid, parseGrid } from "../../core/zarr/grid.ts";
import type { SealedObject } from "../../ports/version-resolver.ts";

/** An array whose chunks are handed out. */
export interface SelectedArray {
  /** As the input names it. */
  path: string;
  /** What its keys begin with. */
  folder: string;
  /** Its metadata: by it the same chunks are these values, or others. */
  document: { key: string; etag: string };
  /** The elements that are selected, for each dimension. */
  spans: Span[];
  grid: ChunkGrid;
  selection: ChunkSelection;
  /** Where the keys of its chunks are. */
  range: KeyRange;
}

/** The documents of which one says what an array is; of format 3 the first. */
const DOCUMENTS = ["zarr.json", ".zarray"] as const;

/** The keys at which the metadata of these arrays can be: two for each, in their order. */
export const documentKeys = (arrays: JobInput["zarr"]): string[] =>
  arrays.flatMap(({ path }) => DOCUMENTS.map((name) => storeKey(folderOf(path)) + name));

/**
 * Reads the metadata of the arrays, and plans which of their chunks are handed out.
 *
 * @param documents what the version holds at `documentKeys`
 */
export async function selectArrays(
  env: Env,
  { bucket, prefix }: { bucket: string; prefix: string },
  arrays: JobInput["zarr"],
  documents: readonly (SealedObject | null)[],
): Promise<Result<SelectedArray[]>> {
  const selected: SelectedArray[] = [];
  let chunks = 0;
  for (const [n, { path, select = [] }] of arrays.entries()) {
    const folder = storeKey(folderOf(path));
    const which = DOCUMENTS.findIndex((_, of) => (documents[n * DOCUMENTS.length + of] ?? null) !== null);
    const [name, sealed] = [DOCUMENTS[which], documents[n * DOCUMENTS.length + which] ?? null];
    if (name === undefined || sealed === null) {
      const detail = `The version has neither "${folder}zarr.json" nor "${folder}.zarray": name an array by its folder.`;
      return fail(failure("not-zarr", detail, { field: `input.zarr.${n}.path` }));
    }
    const text = await readDocument(env, { bucket, key: prefix + folder + name }, sealed);
    const grid = text.ok ? parseGrid(name, text.value) : text;
    const selection = grid.ok ? planSelection(grid.value, select) : grid;
    if (!grid.ok || !selection.ok) return fail(at(n, selection.ok ? null : selection.failure));
    if (selection.value.count === 0) {
      const detail = `The array "${path}" has no elements; leave it out.`;
      return fail(failure("empty-input", detail, { field: `input.zarr.${n}` }));
    }
    const last = grid.value.keyOf(grid.value.counts.map((count) => count - 1));
    // Of all chunks the last one's numbers are the longest.
    const longest = checkKey(prefix + folder + last, `input.zarr.${n}.path`);
    if (!longest.ok) {
      const detail = `The key of its chunk "${last.slice(0, 100)}" cannot be used: ${longest.failure.detail}; name an array nearer to the root.`;
      return fail(failure("not-zarr", detail, { field: `input.zarr.${n}.path` }));
    }
    chunks += selection.value.count;
    if (chunks > UNITS_MAX) return fail(tooManyChunks(chunks, n));
    const { start, end } = grid.value.names;
    const range = { start: folder + start, end: folder + end };
    const document = { key: folder + name, etag: sealed.etag };
    const spans = grid.value.shape.map((size, dimension) => sliceOf(select[dimension] ?? ":", size));
    selected.push({ path, folder, document, spans, grid: grid.value, selection: selection.value, range });
  }
  return ok(selected);
}

const tooManyChunks = (chunks: number, n: number): Failure =>
  failure(
    "too-many-units",
    `The arrays have ${chunks} chunks up to this one, and a job may read ${UNITS_MAX}; select less of it, or have several jobs.`,
    { field: `input.zarr.${n}` },
  );

/** A failure with the field of the array at fault. */
function at(n: number, failed: Failure | null): Failure {
  const { field = "path", ...rest } = failed ?? failure("internal");
  return { ...rest, field: `input.zarr.${n}.${field}` };
}

/** The text of a document, pinned to the ETag that was sealed. */
async function readDocument(
  env: Env,
  { bucket, key }: { bucket: string; key: string },
  { size, etag }: SealedObject,
): Promise<Result<string>> {
  if (size > ZARR_DOCUMENT_MAX_BYTES) {
    const detail = `Its metadata has ${size} bytes, and may have ${ZARR_DOCUMENT_MAX_BYTES}.`;
    return fail(failure("not-zarr", detail));
  }
  const store = r2StoreOf(env, bucket);
  if (store === null) return fail(failure("misconfigured", `The R2 binding "${bucket}" is not there.`));
  const got = await store.get(key, { ifMatch: etag });
  if (!got.ok) {
    const isOther = got.failure.code === "object-not-found" || got.failure.code === "precondition-failed";
    const detail = `"${key}" is no longer what the version sealed; seal another.`;
    return isOther ? fail(failure("object-changed", detail)) : got;
  }
  const text = await new Response(got.value.body).text().catch(() => null);
  return text === null
    ? fail(failure("store-unavailable", `R2 broke off in the middle of "${key}"; ask again.`))
    : ok(text);
}

/** The place of a key's chunk among those that are selected; null where it is none of them. */
export function placeOf({ folder, grid, selection }: SelectedArray, key: string): number | null {
  const chunk = key.startsWith(folder) ? grid.chunkAt(key.slice(folder.length)) : null;
  return chunk === null ? null : selection.indexOf(chunk);
}

/** Parts that are passed on together. */
const BATCH = 1000;

/** The chunks of an array, in C order; one that the version does not hold has no bytes. */
export async function* chunkParts(
  env: Env,
  files: readonly SealedFile[],
  array: SelectedArray,
  content: ContentDigest,
  isTaken: (key: string) => boolean,
): AsyncGenerator<Result<Part[]>, void, void> {
  const { path, folder, document, spans, grid, selection, range } = array;
  // Other elements of the same chunks are another input.
  await content.note([document, { key: path, etag: JSON.stringify(spans) }]);
  const sizes = new Float64Array(selection.count);
  for await (const rows of walkKeys(env, groupsIn(files, [range]), [range])) {
    if (!rows.ok) {
      yield rows;
      return;
    }
    const chunks: SizedKey[] = [];
    for (const row of rows.value) {
      const place = placeOf(array, row.key);
      if (place === null) continue;
      sizes[place] = row.size;
      chunks.push(row);
    }
    // By key, and not in C order: a million ETags are not held.
    await content.note(chunks);
  }
  let parts: Part[] = [];
  for (const [place, size] of sizes.entries()) {
    const chunk = selection.at(place);
    const key = folder + grid.keyOf(chunk);
    if (!isTaken(key)) parts.push({ key, size, array: path, chunk });
    if (parts.length < BATCH) continue;
    yield ok(parts);
    parts = [];
  }
  yield ok(parts);
}
