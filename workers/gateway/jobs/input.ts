import type { SealedVersion } from "../../../durable-objects/dataset/dataset.ts";
import type { ContentDigest } from "../../adapters/content-digest.ts";
import { findSealed } from "../../adapters/sealed-versions.ts";
import { groupsIn, type SizedKey, walkKeys } from "../../adapters/version-keys.ts";
import { type Failure, failure } from "../../core/failure.ts";
import type { JobBody, JobInput } from "../../core/jobs/request.ts";
import { Cutter } from "../../core/jobs/units/cut.ts";
import { NamedObjects } from "../../core/jobs/units/named-objects.ts";
import type { ArrayShape } from "../../core/jobs/units/selected.ts";
import type { Part, Unit } from "../../core/jobs/units/unit.ts";
import { UNIT_GROUPS_MAX } from "../../core/limits.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
import { storeKey } from "../../core/migration/join.ts";
import { compareUtf8 } from "../../core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { Ctx } from "../context.ts";
import { checkRecords, partsOfRecords, type RecordObject } from "./record-input.ts";
import { chunkParts, documentKeys, placeOf, type SelectedArray, selectArrays } from "./zarr-input.ts";

/** What a job reads, and of which version. */
export interface InputOfVersion {
  config: DatasetConfig;
  sealed: SealedVersion;
  input: JobInput;
  targetBytes: JobBody["units"]["targetBytes"];
}

/** An input that is being cut. */
interface CutInput {
  units: AsyncIterable<Result<Unit>>;
  /** Arrays of which it selects elements, each once. */
  arrays: ArrayShape[];
}

/** An input of which everything is known but the names that prefixes and globs stand for. */
interface Prepared extends InputOfVersion {
  records: RecordObject[];
  arrays: SelectedArray[];
  /** Ascending, each once. */
  keys: SizedKey[];
  objects: NamedObjects;
}

/**
 * Looks the input up in the version, and answers with its units: records first, then arrays in the order of the request, then
 * objects by key. Whatever is named in several ways comes once, where it comes first. What can be refused without a walk
 * through the version is refused at once; a prefix or glob that names nothing at the end of the walk.
 *
 * @param content is told what the bytes are of which the units are made
 */
export async function unitsOf(c: Ctx, of: InputOfVersion, content: ContentDigest): Promise<Result<CutInput>> {
  const { input } = of;
  const prepared = await prepare(c, of);
  if (!prepared.ok) return prepared;
  const selects = new Set(input.zarr.filter(({ select = [] }) => select.length > 0).map(({ path }) => path));
  const arrays = new Map(
    prepared.value.arrays
      .filter(({ path }) => selects.has(path))
      .map(({ path, grid: { shape, chunkShape } }) => [path, { path, shape, chunkShape }]),
  );
  return ok({ units: cut(c, prepared.value, content), arrays: [...arrays.values()] });
}

async function prepare(c: Ctx, of: InputOfVersion): Promise<Result<Prepared>> {
  const { config, sealed, input } = of;
  const version = String(sealed.info.number);
  const waitUntil = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const resolver = await findSealed(c.env, config, version, waitUntil);
  if (!resolver.ok) return resolver;
  // All look-ups at once: each page of the version's index is read once.
  const named = (
    [
      ["records", input.records],
      ["keys", input.keys],
    ] as const
  ).flatMap(([list, keys]) => keys.map((key, n) => ({ list, key: storeKey(key), field: `input.${list}.${n}` })));
  const wanted = [...named.map(({ key }) => key), ...documentKeys(input.zarr)];
  const found = await resolver.value.resolveMany(wanted, { original: () => true });
  if (!found.ok) return fail({ ...found.failure, field: "input.keys" });
  const records = new Map<string, RecordObject>();
  const keys = new Map<string, SizedKey>();
  for (const [n, { list, key, field }] of named.entries()) {
    const object = found.value[n] ?? null;
    if (object === null) return fail(missing(version, key, field));
    if (list === "keys") keys.set(key, { key, size: object.size, etag: object.etag });
    else if (!records.has(key)) records.set(key, { key, field, etag: object.etag });
  }
  const arrays = await selectArrays(c.env, config, input.zarr, found.value.slice(named.length));
  if (!arrays.ok) return arrays;
  const objects = new NamedObjects(input);
  const walks = [objects.ranges, ...arrays.value.map(({ range }) => [range])];
  const groups = walks.reduce((sum, ranges) => sum + groupsIn(sealed.files, ranges).length, 0);
  if (groups > UNIT_GROUPS_MAX) return fail(tooManyGroups(groups));
  const refused = await checkRecords(c, { config, version }, [...records.values()]);
  if (refused !== null) return fail(refused);
  const sorted = [...keys.values()].sort((a, b) => compareUtf8(a.key, b.key));
  return ok({ ...of, records: [...records.values()], arrays: arrays.value, keys: sorted, objects });
}

const missing = (version: string, key: string, field: string): Failure =>
  failure("empty-input", `Version ${version} has no object "${key}"; leave it out, or name what is there.`, { field });

const tooManyGroups = (groups: number): Failure =>
  failure(
    "too-many-units",
    `To find what the input names, ${groups} row groups of the version's manifest would be read, and may be ${UNIT_GROUPS_MAX}; name fewer prefixes, longer ones, or globs that begin with more of the keys.`,
    { field: "input" },
  );

async function* cut(c: Ctx, prepared: Prepared, content: ContentDigest): AsyncGenerator<Result<Unit>, void, void> {
  const cutter = new Cutter(prepared.targetBytes);
  for await (const batch of batches(c, prepared, content)) {
    if (!batch.ok) {
      yield batch;
      return;
    }
    for (const part of batch.value.parts) {
      const unit = cutter.push(part, batch.value.group);
      if (unit !== null) yield ok(unit);
    }
  }
  const last = cutter.end();
  if (last !== null) yield ok(last);
}

interface Batch {
  /** Parts of different groups are never in one unit. */
  group: string;
  parts: Part[];
}

async function* batches(c: Ctx, prepared: Prepared, content: ContentDigest): AsyncGenerator<Result<Batch>, void, void> {
  const { config, sealed, records, arrays, targetBytes } = prepared;
  const grouped = (group: string, parts: Result<Part[]>) => (parts.ok ? ok({ group, parts: parts.value }) : parts);
  const where = { config, version: String(sealed.info.number) };
  await content.note(records);
  for (const object of records) yield grouped("records", await partsOfRecords(c, where, object, targetBytes));
  const recordKeys = new Set(records.map(({ key }) => key));
  /** Whether a key came before, among the records or in one of the first `many` arrays. */
  const cameBefore = (key: string, many: number) =>
    recordKeys.has(key) || arrays.some((array, n) => n < many && placeOf(array, key) !== null);
  for (const [n, array] of arrays.entries()) {
    const chunks = chunkParts(c.env, sealed.files, array, content, (key) => cameBefore(key, n));
    for await (const parts of chunks) yield grouped(`zarr ${n}`, parts);
  }
  for await (const found of objectsOf(c.env, prepared)) {
    const fresh = found.ok ? found.value.filter(({ key }) => !cameBefore(key, arrays.length)) : [];
    await content.note(fresh);
    yield grouped("objects", found.ok ? ok(fresh.map(({ key, size }) => ({ key, size }))) : found);
  }
}

/** The objects that keys, prefixes and globs name, ascending by key; at the end the refusal of what names nothing. */
async function* objectsOf(
  env: Env,
  { sealed, keys, objects }: Prepared,
): AsyncGenerator<Result<SizedKey[]>, void, void> {
  let next = 0;
  /** Those of the keys that come before this one; the one itself is passed over. */
  const keysBefore = (key: string): SizedKey[] => {
    const from = next;
    while (next < keys.length && compareUtf8(keys[next]?.key ?? "", key) < 0) next++;
    return keys.slice(from, next);
  };
  for await (const rows of walkKeys(env, groupsIn(sealed.files, objects.ranges), objects.ranges)) {
    if (!rows.ok) {
      yield rows;
      return;
    }
    const found: SizedKey[] = [];
    for (const row of rows.value) {
      found.push(...keysBefore(row.key));
      const isKey = keys[next]?.key === row.key;
      if (isKey) next++;
      if (objects.has(row.key) || isKey) found.push(row);
    }
    yield ok(found);
  }
  const { refusal } = objects;
  yield refusal === null ? ok(keys.slice(next)) : fail(refusal);
}
