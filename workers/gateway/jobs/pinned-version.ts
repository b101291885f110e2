import type { SealedVersion } from "../../../durable-objects/dataset/dataset.ts";
import { asked, datasetNamed } from "../../adapters/ask.ts";
import { markBusy } from "../../adapters/mark-busy.ts";
import { datasetOf } from "../../adapters/objects.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { versionOf } from "../version-of.ts";

/** The sealed version that a job reads from its beginning to its end. */
export interface PinnedVersion {
  sealed: SealedVersion;
  /** What who asked for the job should know of it. */
  warnings: string[];
}

/** Looks at a version that is being sealed, and how long before each but the first: thirty seconds in all. */
const LOOKS = 121;
const LOOK_EVERY_MS = 250;
const RETRY_SECONDS = 15;

/**
 * The version that a job names. The moving head is sealed now, or the newest version is taken where nothing has changed since;
 * an alias is followed now.
 */
export async function pinVersion(
  env: Env,
  dataset: { id: string; name: string },
  text: string,
): Promise<Result<PinnedVersion>> {
  const pinned = text === "live" ? await sealLive(env, dataset) : await named(env, dataset.name, text);
  if (!pinned.ok || pinned.value.sealed.datasetId === dataset.id) return pinned;
  // This isolate may remember the dataset that went by this name before.
  return fail(failure("unknown-version", "The dataset was made anew a moment ago; ask again.", { field: "dataset" }));
}

async function named(env: Env, name: string, text: string): Promise<Result<PinnedVersion>> {
  const found = await versionOf(env, name, text, "dataset");
  if (!found.ok) return found;
  const { sealed } = found.value;
  return sealed === null ? fail(failure("internal")) : ok({ sealed, warnings: [] });
}

async function sealLive(env: Env, { id, name }: { id: string; name: string }): Promise<Result<PinnedVersion>> {
  const described = await asked(datasetNamed(name), async () => datasetOf(env, name).describe());
  if (!described.ok) return described;
  const { migration, summary } = described.value;
  if (summary.objects === 0) return fail(failure("empty-input", EMPTY, { field: "input" }));
  const warnings = migration === null ? [] : [stillMigrating(migration)];
  let number: number | null = null;
  let why = "";
  for (let look = 0; look < LOOKS; look++) {
    if (look > 0) await scheduler.wait(LOOK_EVERY_MS);
    if (number === null) {
      const begun = await asked(datasetNamed(name), async () =>
        datasetOf(env, name).seal(id, { note: "", aliases: [] }),
      );
      // An older state is being sealed, or nothing may be for now: both pass.
      if (!begun.ok && begun.failure.code !== "version-sealing") return begun;
      if (!begun.ok) {
        why = begun.failure.detail;
        continue;
      }
      ({ number } = begun.value.version);
      if (begun.value.version.state !== "sealed") await markBusy(env, name);
      why = `Version ${number} of "${name}" is being sealed, and goes on being sealed.`;
    }
    const sealed = await sealedOrNull(env, name, number);
    if (!sealed.ok) return sealed;
    if (sealed.value !== null) return ok({ sealed: sealed.value, warnings });
  }
  return fail(stillSealing(why));
}

/** Null while it is being sealed. */
async function sealedOrNull(env: Env, name: string, number: number): Promise<Result<SealedVersion | null>> {
  const found = await asked(datasetNamed(name), async () => datasetOf(env, name).version({ kind: "number", number }));
  if (!found.ok || found.value.info.state === "sealed") return found;
  if (found.value.info.state === "sealing") return ok(null);
  const detail = `Version ${number} of "${name}", which the job would read, could not be sealed: ${found.value.info.problem}`;
  return fail(failure("unknown-version", detail, { field: "dataset" }));
}

const EMPTY =
  "The dataset holds no objects yet; migrate it, put some, or walk through its bucket by POST .../reconcile.";

const stillMigrating = (migration: string): string =>
  `Migration ${migration} of this dataset is running: the job reads what had come when its version was sealed.`;

const stillSealing = (why: string): Failure =>
  failure("version-sealing", `${why} Ask again in ${RETRY_SECONDS} seconds, or name a version that is sealed.`, {
    field: "dataset",
    retryAfterSeconds: RETRY_SECONDS,
  });
