import { datasetOf } from "../../adapters/objects.ts";
import { findSealed } from "../../adapters/sealed-versions.ts";
import { covers, coversFolder } from "../../core/capability/scope.ts";
import { type JobSpec, outputScope, readScope } from "../../core/jobs/job.ts";
import type { UrlsBody } from "../../core/jobs/node-requests.ts";
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

/**
 * What a reader is to find at these keys, with the ETag that it will be shown: by the edge the source's, where the object is
 * a copy, and R2's by R2. Of a sealed version what was sealed; of the moving head what the manifest says now.
 */
export async function expectObjects(
  c: Ctx,
  spec: JobSpec,
  body: Extract<UrlsBody, { method: "GET" }>,
): Promise<Result<Expected[]>> {
  const { datasetId, datasetName, version } = spec;
  const rows = await datasetOf(c.env, datasetName).remember(body.keys.map(storeKey));
  const live = new Map(rows.map((row) => [row.key, row]));
  const shown = ({ size, etag, sourceEtag }: (typeof rows)[number]): SealedObject => ({
    size,
    etag: body.via === "edge" ? (sourceEtag ?? etag) : etag,
  });
  const own = outputScope(spec);
  const expected = body.keys.map((key): Expected => {
    const row = live.get(storeKey(key));
    const isSealed = own === null || !covers(own, key);
    return { key, object: row === undefined ? null : shown(row), isSealed };
  });
  const sealed = expected.filter(({ isSealed }) => isSealed);
  if (sealed.length === 0) return ok(expected);
  const waitUntil = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const resolver = await findSealed(c.env, { id: datasetId, name: datasetName }, version, waitUntil);
  if (!resolver.ok) return resolver;
  const keys = sealed.map(({ key }) => storeKey(key));
  const scope = readScope(spec);
  const original = (index: number) => body.via === "r2" || !coversFolder(scope, sealed[index]?.key ?? "");
  const found = await resolver.value.resolveMany(keys, { original });
  if (!found.ok) {
    return fail(found.failure.code === "too-many-keys" ? { ...found.failure, field: "keys" } : found.failure);
  }
  for (const [index, each] of sealed.entries()) {
    const object = found.value[index] ?? null;
    const row = live.get(storeKey(each.key));
    each.object = object !== null && row?.etag === object.etag ? shown(row) : object;
  }
  return ok(expected);
}
