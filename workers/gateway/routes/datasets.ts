import * as z from "zod";
import { bucketOf } from "../../adapters/config.ts";
import { newId } from "../../adapters/ids.ts";
import { datasetOf, directoryOf } from "../../adapters/objects.ts";
import { nextTick } from "../../adapters/schedule.ts";
import { type Failure, failure } from "../../core/failure.ts";
import {
  changesOf,
  type DatasetChanges,
  datasetBodySchema,
  type DatasetConfig,
  datasetPatchSchema,
  nameSchema,
} from "../../core/manifest/dataset.ts";
import { tokenOf } from "../auth.ts";
import { readBody, readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { formatCursor, pageQuery } from "../paging.ts";
import { unknownVersion } from "../unknown-version.ts";

/** `GET /v1/datasets` */
export async function list(c: Ctx): Promise<Response> {
  const query = readQuery(c, z.strictObject(pageQuery));
  if (!query.ok) return refuse(c, query.failure);
  const { entries, next } = await directoryOf(c.env).list(
    "dataset",
    query.value.cursor ?? null,
    query.value.limit,
    tokenOf(c).datasets ?? null,
  );
  const datasets = entries.map(({ name, id, summary, createdAt }) => ({
    name,
    id,
    ...summary,
    createdAt: new Date(createdAt).toISOString(),
  }));
  return answer(c, { datasets, ...(next === null ? {} : { cursor: formatCursor(next) }) });
}

/** `GET /v1/datasets/:dataset`: the configuration, and a summary of the live manifest. */
export async function describe(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const described = await datasetOf(c.env, name).describe();
  if (!described.ok) return refuse(c, described.failure);
  const { config, summary, migration } = described.value;
  return answer(c, { ...config, manifest: summary, migration });
}

/** `PUT /v1/datasets/:dataset`: registers, or replaces what may change (all but bucket, prefix and kind). */
export async function register(c: Ctx): Promise<Response> {
  const name = nameSchema.safeParse(c.req.param("dataset"));
  if (!name.success) {
    const rule = name.error.issues[0]?.message ?? "";
    return refuse(c, failure("invalid-name", `A dataset's name ${rule}.`, { field: "dataset" }));
  }
  const body = await readBody(c, datasetBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const { bucket, kind, prefix, schedule } = body.value;
  const config = c.get("config");
  if (!config.buckets.has(bucket) || bucketOf(c.env, bucket) === null) {
    const detail = `There is no R2 binding "${bucket}" with a name in [vars.BUCKETS] of wrangler.toml.`;
    return refuse(c, failure("unknown-bucket", detail, { field: "bucket" }));
  }
  const wrong = checkNames(c, body.value) ?? (await checkSource(c, name.data, body.value.source));
  if (wrong !== null) return refuse(c, wrong);
  const now = Date.now();
  const claim = { name: name.data, kind, bucket, prefix, schedule };
  const claimed = await directoryOf(c.env).claimDataset(claim, newId("ds", now));
  if (!claimed.ok) return refuse(c, claimed.failure);
  const at = new Date(now).toISOString();
  const dataset: DatasetConfig = { ...body.value, id: claimed.value.id, name: name.data, createdAt: at, updatedAt: at };
  const kept = await datasetOf(c.env, name.data).configure(dataset);
  if (!kept.ok) return refuse(c, kept.failure);
  await claimSchedule(c, kept.value);
  return answer(c, kept.value, claimed.value.created ? 201 : 200);
}

/** `PATCH /v1/datasets/:dataset`: changes what is named, and leaves the rest. */
export async function change(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const body = await readBody(c, datasetPatchSchema);
  if (!body.ok) return refuse(c, body.failure);
  const changes = changesOf(body.value);
  if (!changes.ok) return refuse(c, changes.failure);
  const { source } = changes.value;
  const wrong = checkNames(c, changes.value) ?? (source === undefined ? null : await checkSource(c, name, source));
  if (wrong !== null) return refuse(c, wrong);
  const changed = await datasetOf(c.env, name).patch(changes.value);
  if (!changed.ok) return refuse(c, changed.failure);
  await claimSchedule(c, changed.value);
  return answer(c, changed.value);
}

/** What a body names must be there, and a schedule come due. */
function checkNames(c: Ctx, { source, schedule }: DatasetChanges): Failure | null {
  if (source !== undefined && source !== null && !c.get("config").sources.has(source.name)) {
    const detail = `Sources are named in wrangler.toml; "${source.name}" is not.`;
    return failure("unknown-source", detail, { field: "source.name" });
  }
  if (schedule !== undefined && schedule !== null && nextTick(schedule, 0) === null) {
    const detail = 'schedule: is not a cron expression of five fields, such as "0 */6 * * *", that ever comes due.';
    return failure("invalid-body", detail, { field: "schedule" });
  }
  return null;
}

/**
 * A token that is limited to datasets may not say where one comes from: a migration with any prefix of any source would
 * read there, and one back would write.
 */
async function checkSource(c: Ctx, name: string, wanted: DatasetChanges["source"]): Promise<Failure | null> {
  if (tokenOf(c).datasets === undefined) return null;
  const present = await datasetOf(c.env, name).config();
  if (!present.ok && present.failure.code !== "unknown-dataset") return present.failure;
  const { source } = present.ok ? present.value : {};
  if (wanted?.name === source?.name && wanted?.prefix === source?.prefix) return null;
  const detail =
    "The token is limited to datasets, and may not choose their sources: leave it as it is, or ask an admin of all.";
  return failure("out-of-scope", detail, { field: "source" });
}

/**
 * Tells the Directory, by which the cron goes, a dataset's schedule. Two writers at once may come here in another order
 * than to the Dataset object: so each looks again after it has told, and whoever told what no longer holds tells anew.
 */
async function claimSchedule(c: Ctx, written: DatasetConfig): Promise<void> {
  for (let dataset = written; ;) {
    await directoryOf(c.env).claimDataset(dataset, dataset.id);
    const now = await datasetOf(c.env, dataset.name).config();
    if (!now.ok || now.value.schedule === dataset.schedule) return;
    dataset = now.value;
  }
}

const manifestQuery = z.strictObject({
  ...pageQuery,
  version: z.string().default("live"),
  prefix: z.string().max(1024).default(""),
});

/** `GET /v1/datasets/:dataset/manifest`: one page of the live manifest. */
export async function manifest(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const query = readQuery(c, manifestQuery);
  if (!query.ok) return refuse(c, query.failure);
  const { version, prefix, cursor, limit } = query.value;
  if (version !== "live") return refuse(c, unknownVersion(name, version, "version"));
  const page = await datasetOf(c.env, name).page(prefix, cursor ?? null, limit);
  if (!page.ok) return refuse(c, page.failure);
  const objects = page.value.rows.map(({ uploadedAt, sourceModifiedAt, updatedAt, ...row }) => ({
    ...row,
    uploadedAt: new Date(uploadedAt).toISOString(),
    sourceModifiedAt: sourceModifiedAt === null ? null : new Date(sourceModifiedAt).toISOString(),
    updatedAt: new Date(updatedAt).toISOString(),
  }));
  const { next } = page.value;
  return answer(c, { dataset: name, version, objects, ...(next === null ? {} : { cursor: formatCursor(next) }) });
}
