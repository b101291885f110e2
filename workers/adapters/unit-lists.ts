import type { Unit } from "../core/jobs/units/unit.ts";
import { failure } from "../core/failure.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { sha256Of } from "./digest.ts";

/** The lists of jobs' units, in the SYSTEM bucket: one object each, written before the job is there, and never changed. */
const keyOf = (jobId: string): string => `jobs/${jobId}/units/list.json`;

/** Writes the list of a job that is not there yet; returns how many units it has, their bytes, and its digest: hex SHA-256. */
export async function writeUnits(
  env: Env,
  jobId: string,
  units: AsyncIterable<Result<Unit>>,
): Promise<Result<{ count: number; bytes: number; digest: string }>> {
  const list: Unit[] = [];
  for await (const unit of units) {
    if (!unit.ok) return unit;
    list.push(unit.value);
  }
  const text = new TextEncoder().encode(JSON.stringify(list));
  await env.SYSTEM.put(keyOf(jobId), text);
  const bytes = list.reduce((sum, unit) => sum + unit.bytes, 0);
  return ok({ count: list.length, bytes, digest: await sha256Of(text) });
}

/** The units of these numbers, in their order; `version-damaged` where the list is missing or has no such unit. */
export async function readUnits(env: Env, jobId: string, numbers: readonly number[]): Promise<Result<Unit[]>> {
  const list = await (await env.SYSTEM.get(keyOf(jobId)))?.json<Unit[]>();
  const units = numbers.flatMap((number) => list?.[number] ?? []);
  if (units.length === numbers.length) return ok(units);
  return fail(failure("version-damaged", `The list of units of "${jobId}" is missing, or not what was written.`));
}
