import type { SealedVersion } from "../../durable-objects/dataset/dataset.ts";
import { asked, datasetNamed } from "../adapters/ask.ts";
import { Memo } from "../adapters/memo.ts";
import { datasetOf } from "../adapters/objects.ts";
import { type Failure, failure } from "../core/failure.ts";
import { parseVersionName, type VersionName } from "../core/manifest/version.ts";
import { fail, ok, type Result } from "../core/result.ts";

/** A version as a request named it, found: its name in tokens and URLs, and what was sealed; null for the moving head. */
export interface FoundVersion {
  name: string;
  sealed: SealedVersion | null;
}

/** Sealed versions by dataset id and number: they never change. */
const known = new Memo<SealedVersion>(100);

const LIVE: FoundVersion = { name: "live", sealed: null };

/** Finds a version by "live", its number or an alias, which is followed now. `field` is where the caller named it. */
export async function versionOf(env: Env, dataset: string, text: string, field: string): Promise<Result<FoundVersion>> {
  const name = parseVersionName(text);
  if (name === null) return fail(unknown(dataset, text, field));
  if (name.kind === "live") return ok(LIVE);
  const found = await sealedVersion(env, dataset, name);
  if (!found.ok) return fail(found.failure.code === "unknown-version" ? { ...found.failure, field } : found.failure);
  const { state, number } = found.value.info;
  if (state === "sealed") return ok({ name: String(number), sealed: found.value });
  const why = state === "sealing" ? "is being sealed; ask again in a moment" : "could not be sealed";
  return fail(failure("unknown-version", `Version ${number} of "${dataset}" ${why}.`, { field }));
}

async function sealedVersion(
  env: Env,
  dataset: string,
  name: Exclude<VersionName, { kind: "live" }>,
): Promise<Result<SealedVersion>> {
  const config = await asked(datasetNamed(dataset), async () => datasetOf(env, dataset).config());
  if (!config.ok) return config;
  const memo = name.kind === "number" ? known.peek(`${config.value.id}/${name.number}`) : null;
  if (memo !== null) return ok(memo);
  const found = await asked(datasetNamed(dataset), async () => datasetOf(env, dataset).version(name));
  if (!found.ok) return found;
  const { datasetId, info } = found.value;
  if (info.state === "sealed") known.set(`${datasetId}/${info.number}`, found.value, Date.now());
  return found;
}

const unknown = (dataset: string, text: string, field: string): Failure =>
  failure(
    "unknown-version",
    `"${text.slice(0, 64)}" names no version of "${dataset}": it is "live", a number from 1, or an alias.`,
    { field },
  );
