import * as z from "zod";
import { directoryOf, migrationOf } from "../../adapters/objects.ts";
import { startMigration } from "../../adapters/start-migration.ts";
import { failure } from "../../core/failure.ts";
import { nameSchema } from "../../core/manifest/dataset.ts";
import { datasetAllowed, tokenOf } from "../auth.ts";
import { readBody, readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { formatCursor, pageQuery } from "../paging.ts";

const startBody = z.strictObject({ dataset: nameSchema });

/** `POST /v1/migrations`: 202 with the status of the run that was started. */
export async function start(c: Ctx): Promise<Response> {
  const body = await readBody(c, startBody);
  if (!body.ok) return refuse(c, body.failure);
  const refused = datasetAllowed(tokenOf(c), body.value.dataset);
  if (refused !== null) return refuse(c, refused);
  const started = await startMigration(c.env, c.get("config"), body.value.dataset);
  return started.ok ? answer(c, started.value, 202) : refuse(c, started.failure);
}

/** `GET /v1/migrations/:id`: live counts. */
export async function status(c: Ctx): Promise<Response> {
  const id = c.req.param("id") ?? "";
  // An object is made by asking for it: only ids that we could have given out are asked for.
  const found = /^mig_[0-9A-Z]{26}$/.test(id) ? await migrationOf(c.env, id).status() : null;
  if (found === null || !found.ok)
    return refuse(c, failure("unknown-migration", `There is no migration "${id.slice(0, 64)}".`));
  const refused = datasetAllowed(tokenOf(c), found.value.dataset);
  return refused === null ? answer(c, found.value) : refuse(c, refused);
}

/** `GET /v1/migrations` */
export async function list(c: Ctx): Promise<Response> {
  const query = readQuery(c, z.strictObject(pageQuery));
  if (!query.ok) return refuse(c, query.failure);
  const page = await directoryOf(c.env).list(
    "migration",
    query.value.cursor ?? null,
    query.value.limit,
    tokenOf(c).datasets ?? null,
  );
  const migrations = page.entries.map(({ id, state, summary, createdAt }) => ({
    id,
    state,
    ...summary,
    startedAt: new Date(createdAt).toISOString(),
  }));
  return answer(c, { migrations, ...(page.next === null ? {} : { cursor: formatCursor(page.next) }) });
}
