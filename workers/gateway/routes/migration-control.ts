import * as z from "zod";
import { migrationOf } from "../../adapters/objects.ts";
import { startMigration } from "../../adapters/start-migration.ts";
import { type Failure, type FailureCode, failure } from "../../core/failure.ts";
import { type MigrationOptions, retryOf, verificationOf } from "../../core/migration/request.ts";
import type { MigrationSpec, MigrationStatus } from "../../core/migration/status.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { checkReport } from "./migration-keys.ts";
import { findMigration } from "./migrations.ts";

/** `POST /v1/migrations/:id/pause`: consumers settle what they have begun, and begin nothing more. */
export const pause = (c: Ctx): Promise<Response> => control(c, "pause");

/** `POST /v1/migrations/:id/resume` */
export const resume = (c: Ctx): Promise<Response> => control(c, "resume");

/** `POST /v1/migrations/:id/cancel`: what was copied stays, what R2 holds open of it is aborted. */
export const cancel = (c: Ctx): Promise<Response> => control(c, "cancel");

/** 200 with the status; 409 `migration-ended` where the run is over. */
async function control(c: Ctx, what: "pause" | "resume" | "cancel"): Promise<Response> {
  const body = await readBody(c, z.strictObject({}));
  if (!body.ok) return refuse(c, body.failure);
  const found = await findMigration(c);
  if (!found.ok) return refuse(c, found.failure);
  const changed = await migrationOf(c.env, found.value.id)[what]();
  return changed.ok ? answer(c, changed.value) : refuse(c, changed.failure);
}

/** `POST /v1/migrations/:id/retry`: 202 with a new run of what did not come out well in one that has ended. */
export async function retry(c: Ctx): Promise<Response> {
  const body = await readBody(c, z.strictObject({}));
  if (!body.ok) return refuse(c, body.failure);
  const found = await findMigration(c);
  if (!found.ok) return refuse(c, found.failure);
  const spec = await specOf(c, found.value);
  if (!spec.ok) return refuse(c, spec.failure);
  const { id, datasetId } = spec.value;
  const refused =
    whyNoRetry(found.value) ?? (await checkReport(c.env, datasetId, { kind: "report", migration: id, outcomes: [] }));
  return refused === null ? follow(c, spec.value, retryOf(spec.value)) : refuse(c, withoutField(refused));
}

/**
 * Of a run that ended before its work was done, what it never came to has no line in the report: a retry would be done
 * with none of it. Too many deletes are found when everything has a line.
 */
function whyNoRetry({ state, problem }: MigrationStatus): Failure | null {
  const hasFailed = state === "failed" && problem?.code !== ("too-many-deletes" satisfies FailureCode);
  if (state !== "cancelled" && !hasFailed) return null;
  const why = state === "cancelled" ? "It was cancelled" : `It failed as a whole (${problem?.code ?? ""})`;
  const detail = `${why}, and its report does not name what it never came to: start the migration again, which does what is missing.`;
  return failure("migration-ended", detail);
}

const verifyBody = z.strictObject({ deep: z.boolean().default(false) });

/** `POST /v1/migrations/:id/verify`: 202 with a verification of what the run was about. */
export async function verify(c: Ctx): Promise<Response> {
  const body = await readBody(c, verifyBody);
  if (!body.ok) return refuse(c, body.failure);
  const spec = await findSpec(c);
  return spec.ok ? follow(c, spec.value, verificationOf(spec.value, body.value.deep)) : refuse(c, spec.failure);
}

async function follow(c: Ctx, { dataset }: MigrationSpec, options: MigrationOptions): Promise<Response> {
  const started = await startMigration(c.env, c.get("config"), dataset, options);
  return started.ok ? answer(c, started.value, 202) : refuse(c, started.failure);
}

async function findSpec(c: Ctx): Promise<Result<MigrationSpec>> {
  const found = await findMigration(c);
  return found.ok ? specOf(c, found.value) : found;
}

async function specOf(c: Ctx, { id }: MigrationStatus): Promise<Result<MigrationSpec>> {
  const spec = await migrationOf(c.env, id).spec();
  return spec === null ? fail(failure("unknown-migration")) : ok(spec);
}

/** Of what the caller's body does not name. */
const withoutField = ({ field: _, ...failed }: Failure): Failure => failed;
