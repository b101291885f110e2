import type { RememberedRow } from "../../../durable-objects/dataset/dataset.ts";
import { asked, datasetNamed } from "../../adapters/ask.ts";
import { datasetOf } from "../../adapters/objects.ts";
import { findSealed } from "../../adapters/sealed-versions.ts";
import { covers, coversFolder } from "../../core/capability/scope.ts";
import { type JobSpec, outputScope, readScope } from "../../core/jobs/job.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { SealedObject } from "../../ports/version-resolver.ts";
import type { Ctx } from "../context.ts";

/** What a reader is to find at a key. */
export interface Expected {
  /** As it was asked for. */
  key: string;
  /** Null where nobody knows what is there. */
  object: SealedObject | null;
  /** Sealed: nothing else is to be read. Not so at the moving head, where even a job on a version has its outputs. */
  isSealed: boolean;
}

/** Keys to be read, and by which door. */
export interface Wanted {
  readonly keys: readonly string[];
  readonly via: "r2" | "edge";
}

/**
 * What a reader is to find at these keys, with the ETag that it will be shown: by the edge the source's, where the object is
 * a copy, and R2's by R2. Of a sealed version what was sealed; of the moving head what the manifest says now.
 */
export async function expectObjects(c: Ctx, spec: JobSpec, { keys, via }: Wanted): Promise<Result<Expected[]>> {
  const { datasetId, datasetName, version } = spec;
  const own = outputScope(spec);
  const expected = keys.map((key): Expected => {
    return { key, object: null, isSealed: own === null || !covers(own, storeKey(key)) };
  });
  // Of what is sealed, rows tell no more than under which ETag the edge shows it.
  const known = expected.filter(({ isSealed }) => via === "edge" || !isSealed).map(({ key }) => storeKey(key));
  const rows = await rowsOf(c, datasetName, known);
  if (!rows.ok) return rows;
  const live = new Map(rows.value.map((row) => [row.key, row]));
  const shown = ({ size, etag, sourceEtag }: RememberedRow): SealedObject => ({
    size,
    etag: via === "edge" ? (sourceEtag ?? etag) : etag,
  });
  for (const each of expected) {
    const row = each.isSealed ? undefined : live.get(storeKey(each.key));
    if (row !== undefined) each.object = shown(row);
  }
  const sealed = expected.filter(({ isSealed }) => isSealed);
  if (sealed.length === 0) return ok(expected);
  const waitUntil = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const resolver = await findSealed(c.env, { id: datasetId, name: datasetName }, version, waitUntil);
  if (!resolver.ok) return resolver;
  const sealedKeys = sealed.map(({ key }) => storeKey(key));
  const scope = readScope(spec);
  const original = (index: number) => via === "r2" || !coversFolder(scope, sealedKeys[index] ?? "");
  const found = await resolver.value.resolveMany(sealedKeys, { original });
  if (!found.ok) {
    return fail(found.failure.code === "too-many-keys" ? { ...found.failure, field: "keys" } : found.failure);
  }
  for (const [index, each] of sealed.entries()) {
    const object = found.value[index] ?? null;
    const row = live.get(sealedKeys[index] ?? "");
    each.object = object !== null && row?.etag === object.etag ? shown(row) : object;
  }
  return ok(expected);
}

async function rowsOf(c: Ctx, dataset: string, keys: string[]): Promise<Result<RememberedRow[]>> {
  if (keys.length === 0) return ok([]);
  return asked(datasetNamed(dataset), async () => ok(await datasetOf(c.env, dataset).remember(keys)));
}
