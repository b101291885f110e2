import { failure } from "../core/failure.ts";
import { fail, type Result } from "../core/result.ts";
import type { VersionResolver } from "../ports/version-resolver.ts";

/** Datasets have no sealed versions as yet: every number is one that there is not. */
export async function noVersions(
  _env: Env,
  dataset: { name: string },
  version: string,
): Promise<Result<VersionResolver>> {
  return fail(
    failure("unknown-version", `Dataset "${dataset.name}" has no version ${version}; it has only "live" as yet.`),
  );
}
