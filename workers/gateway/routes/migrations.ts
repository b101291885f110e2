import * as z from "zod";
import { directoryOf, migrationOf } from "../../adapters/objects.ts";
import { startMigration } from "../../adapters/start-migration.ts";
import { failure } from "../../core/failure.ts";
import { BODY_MAX_BYTES } from "../../core/limits.ts";
import { nameSchema } from "../../core/manifest/dataset.ts";
import { checkOptions, KEYS_ELSEWHERE, migrationBodySchema, migrationIdSchema } from "../../core/migration/request.ts";
import type { MigrationStatus } from "../../core/migration/status.ts";
import { fail, type Result } from "../../core/result.ts";
import { datasetAllowed, tokenOf } from "../auth.ts";
import { readBody, readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { formatCursor, pageQuery } from "../paging.ts";
import { checkKeys } from "./migration-keys.ts";

/** `POST /v1/migrations`: 202 with the status of the run that was started. */
export async function start(c: Ctx): Promise<Response> {
  const body = await readBody(c, migrationBodySchema, BODY_MAX_BYTES, { wayOut: KEYS_ELSEWHERE });
  if (!body.ok) return refuse(c, body.failure);
  const { dataset, ...options } = body.value;
  const refused =
    datasetAllowed(tokenOf(c), dataset) ?? checkOptions(options) ?? (await checkKeys(c, dataset, options.keys));
  if (refused !== null) return refuse(c, refused);
  const started = await startMigration(c.env, c.get("config"), dataset, options);
  return started.ok ? answer(c, started.value, 202) : refuse(c, started.failure);
}

/** `GET /v1/migrations/:id`: live counts. */
export async function status(c: Ctx): Promise<Response> {
  const found = await findMigration(c);
  return found.ok ? answer(c, found.value) : refuse(c, found.failure);
}

/** The migration in the path, if the token may know of it. */
export async function findMigration(c: Ctx): Promise<Result<MigrationStatus>> {
  const id = c.req.param("id") ?? "";
  const found = migrationIdSchema.safeParse(id).success ? await migrationOf(c.env, id).status() : null;
  if (found === null || !found.ok) {
    return fail(failure("unknown-migration", `There is no migration "${id.slice(0, 64)}".`));
  }
  const refused = datasetAllowed(tokenOf(c), found.value.dataset);
  return refused === null ? found : fail(refused);
}

const listQuery = z.strictObject({
  ...pageQuery,
  dataset: nameSchema.optional(),
  /** As the Directory knows it: `running` is whatever has not ended. */
  state: z.enum(["running", "done", "failed", "cancelled"]).optional(),
});

/** `GET /v1/migrations` */
export async function list(c: Ctx): Promise<Response> {
  const query = readQuery(c, listQuery);
  if (!query.ok) return refuse(c, query.failure);
  const { dataset, state, cursor, limit } = query.value;
  const refused = dataset === undefined ? null : datasetAllowed(tokenOf(c), dataset);
  if (refused !== null) return refuse(c, refused);
  const page = await directoryOf(c.env).list(
    "migration",
    cursor ?? null,
    limit,
    dataset === undefined ? (tokenOf(c).datasets ?? null) : [dataset],
    state ?? null,
  );
  const migrations = page.entries.map(({ id, state: known, summary, createdAt }) => ({
    id,
    state: known,
    ...summary,
    startedAt: new Date(createdAt).toISOString(),
  }));
  return answer(c, { migrations, ...(page.next === null ? {} : { cursor: formatCursor(page.next) }) });
}
