import * as z from "zod";
import type { StageCount } from "../../../durable-objects/dataset/totals.ts";
import { bucketOf } from "../../adapters/config.ts";
import { forEachLimited } from "../../adapters/for-each-limited.ts";
import { newId } from "../../adapters/ids.ts";
import { markBusy } from "../../adapters/mark-busy.ts";
import { datasetOf, directoryOf } from "../../adapters/objects.ts";
import { nextTick } from "../../adapters/schedule.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { KEY_MAX_BYTES } from "../../core/limits.ts";
import {
  changesOf,
  DATASET_KINDS,
  type DatasetChanges,
  datasetBodySchema,
  type DatasetConfig,
  datasetPatchSchema,
  nameSchema,
} from "../../core/manifest/dataset.ts";
import { categorySchema } from "../../core/manifest/place.ts";
import { stageSchema } from "../../core/manifest/row.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { tokenOf } from "../auth.ts";
import { readBody, readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { formatCursor, pageQuery } from "../paging.ts";

/** Datasets of one page that are asked at once, each in an object of its own. */
const ASKED_AT_ONCE = 32;

const listQuery = z.strictObject({
  ...pageQuery,
  kind: z.enum(DATASET_KINDS).optional(),
  stage: stageSchema.optional(),
  category: categorySchema(KEY_MAX_BYTES).optional(),
});

/**
 * `GET /v1/datasets`: one page by name, with objects and bytes by stage, for which each dataset of the page is asked. A page
 * is one of names: with filters, it may be shorter than its limit, or empty, and still have a cursor.
 */
export async function list(c: Ctx): Promise<Response> {
  const query = readQuery(c, listQuery);
  if (!query.ok) return refuse(c, query.failure);
  const { cursor, limit, kind, stage, category } = query.value;
  const allowed = tokenOf(c).datasets ?? null;
  const { entries, next } = await directoryOf(c.env).list("dataset", cursor ?? null, limit, allowed);
  const wanted = entries.filter(({ summary }) => kind === undefined || summary["kind"] === kind);
  const counts = await countAll(
    c.env,
    wanted.map(({ name }) => name),
    category ?? null,
  );
  if (!counts.ok) return refuse(c, counts.failure);
  const datasets = wanted.flatMap(({ name, id, summary, createdAt }) => {
    const all = counts.value.get(name) ?? [];
    const stages = all.filter((each) => stage === undefined || each.stage === stage);
    if ((stage !== undefined || category !== undefined) && stages.length === 0) return [];
    const { objects, bytes } = sumOf(stages);
    return [{ name, id, ...summary, createdAt: new Date(createdAt).toISOString(), objects, bytes, stages }];
  });
  return answer(c, { datasets, ...(next === null ? {} : { cursor: formatCursor(next) }) });
}

/** Objects and bytes by stage of each dataset, of one category or of all; one that is being made has none. */
async function countAll(
  env: Env,
  names: readonly string[],
  category: string | null,
): Promise<Result<Map<string, StageCount[]>>> {
  const counts = new Map<string, StageCount[]>();
  let refused: Failure | null = null;
  await forEachLimited(names, ASKED_AT_ONCE, async (name) => {
    try {
      const counted = await datasetOf(env, name).countsByStage(category);
      if (counted.ok) counts.set(name, counted.value);
      else if (counted.failure.code !== "unknown-dataset") refused = counted.failure;
    } catch {
      refused = failure("store-unavailable", `Dataset "${name}" cannot be asked at the moment.`);
    }
  });
  return refused === null ? ok(counts) : fail(refused);
}

const sumOf = (counts: readonly StageCount[]) => ({
  objects: counts.reduce((sum, { objects }) => sum + objects, 0),
  bytes: counts.reduce((sum, { bytes }) => sum + bytes, 0),
});

/** `GET /v1/datasets/:dataset`: the configuration, and a summary of the live manifest. */
export async function describe(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const described = await datasetOf(c.env, name).describe();
  if (!described.ok) return refuse(c, described.failure);
  const { config, summary, migration } = described.value;
  // Of the whole installation: nobody's objects are of no dataset in particular.
  const unowned = await directoryOf(c.env).unowned();
  return answer(c, { ...config, manifest: { ...summary, feeds: { ...summary.feeds, unowned } }, migration });
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
  const { bucket, kind, prefix, schedule, reconcileSeconds } = body.value;
  const config = c.get("config");
  if (!config.buckets.has(bucket) || bucketOf(c.env, bucket) === null) {
    const detail = `There is no R2 binding "${bucket}" with a name in [vars.BUCKETS] of wrangler.toml.`;
    return refuse(c, failure("unknown-bucket", detail, { field: "bucket" }));
  }
  const wrong = checkNames(c, body.value) ?? (await checkSource(c, name.data, body.value.source));
  if (wrong !== null) return refuse(c, wrong);
  const now = Date.now();
  const claim = { name: name.data, kind, bucket, prefix, schedule, reconcileSeconds };
  const claimed = await directoryOf(c.env).claimDataset(claim, newId("ds", now));
  if (!claimed.ok) return refuse(c, claimed.failure);
  const at = new Date(now).toISOString();
  const dataset: DatasetConfig = { ...body.value, id: claimed.value.id, name: name.data, createdAt: at, updatedAt: at };
  const kept = await datasetOf(c.env, name.data).configure(dataset);
  if (!kept.ok) return refuse(c, kept.failure);
  await claimSchedule(c, kept.value);
  // Its rows may have to follow other rules of places.
  if (!claimed.value.created) await markBusy(c.env, name.data);
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
  if (changes.value.places !== undefined) await markBusy(c.env, name);
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
 * Tells the Directory, by which the cron goes, a dataset's schedules. Two writers at once may come here in another order
 * than to the Dataset object: so each looks again after it has told, and whoever told what no longer holds tells anew.
 */
async function claimSchedule(c: Ctx, written: DatasetConfig): Promise<void> {
  for (let dataset = written; ;) {
    await directoryOf(c.env).claimDataset(dataset, dataset.id);
    const now = await datasetOf(c.env, dataset.name).config();
    const isTold = (of: DatasetConfig) =>
      of.schedule === dataset.schedule && (of.reconcileSeconds ?? null) === (dataset.reconcileSeconds ?? null);
    if (!now.ok || isTold(now.value)) return;
    dataset = now.value;
  }
}
