import * as z from "zod";
import { asked, datasetNamed } from "../../adapters/ask.ts";
import { datasetOf } from "../../adapters/objects.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
import {
  formatRegistry,
  type Holding,
  keysOfPath,
  parseRegistry,
  type RegistryEntry,
} from "../../core/manifest/registry.ts";
import type { AskedEntry, FoundEntry } from "../../core/manifest/registry-diff.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";

/** A registry file of ten thousand names with long paths. */
const REGISTRY_MAX_BYTES = 8 * 1024 * 1024;

/** Entries of one question to the Dataset: those that are not found by their path are looked for by their name. */
const ENTRIES_AT_ONCE = 500;

const registryBody = z.strictObject({
  // As it is: a record of zod's leaves "__proto__" out in silence.
  registry: z.custom<Readonly<Record<string, unknown>>>(
    (value) => typeof value === "object" && value !== null && !Array.isArray(value),
    "is an object that maps names to paths",
  ),
  apply: z.boolean().default(false),
});

/**
 * `POST /v1/datasets/:dataset/registry`: holds a registry file, a JSON that maps names to paths, against the live manifest.
 * The answer says what each path is here; with `apply`, the names are kept with the dataset, in place of those it had.
 */
export async function put(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const body = await readBody(c, registryBody, REGISTRY_MAX_BYTES, { wayOut: "split it over several datasets" });
  if (!body.ok) return refuse(c, body.failure);
  const { registry, apply } = body.value;
  const entries = parseRegistry(registry);
  if (!entries.ok) return refuse(c, entries.failure);
  const described = await asked(datasetNamed(name), async () => datasetOf(c.env, name).describe());
  if (!described.ok) return refuse(c, described.failure);
  const { config, summary } = described.value;
  const holdings = holdingsOf(c, config);
  const found = await findAll(
    c.env,
    config,
    entries.value.map((entry) => ({ entry, keys: keysOfPath(entry.path, holdings) })),
  );
  if (!found.ok) return refuse(c, found.failure);
  if (apply) {
    const entriesWithKeys = found.value.map(({ entry, key }) => ({ ...entry, key }));
    const kept = await asked(datasetNamed(name), async () =>
      datasetOf(c.env, name).setRegistry(config.id, entriesWithKeys),
    );
    if (!kept.ok) return refuse(c, kept.failure);
  }
  const keys = new Set(found.value.flatMap(({ key }) => key ?? []));
  const unnamedObjects = Math.max(0, summary.objects - keys.size);
  return answer(c, { dataset: name, applied: apply, ...diffOf(found.value), unnamedObjects });
}

async function findAll(env: Env, { id, name }: DatasetConfig, wanted: AskedEntry[]): Promise<Result<FoundEntry[]>> {
  const all: FoundEntry[] = [];
  for (let at = 0; at < wanted.length; at += ENTRIES_AT_ONCE) {
    const some = wanted.slice(at, at + ENTRIES_AT_ONCE);
    const found = await asked(datasetNamed(name), async () => datasetOf(env, name).findEntries(id, some));
    if (!found.ok) return fail(found.failure);
    all.push(...found.value);
  }
  return ok(all);
}

/** Where the dataset's objects are, and where they came from: a path may name either. */
function holdingsOf(c: Ctx, { bucket, prefix, source }: DatasetConfig): Holding[] {
  const { buckets, sources } = c.get("config");
  const here = { bucket: buckets.get(bucket) ?? bucket, prefix };
  const there = source === undefined ? undefined : sources.get(source.name);
  return source === undefined || there === undefined ? [here] : [here, { bucket: there.bucket, prefix: source.prefix }];
}

const named = ({ category, name, path }: RegistryEntry) => ({ ...(category === null ? {} : { category }), name, path });

function diffOf(entries: readonly FoundEntry[]) {
  const of = (found: FoundEntry["found"]) => entries.filter((each) => each.found === found);
  return {
    unchanged: of("unchanged").length,
    canonical: of("canonical").map(({ entry, key }) => ({ ...named(entry), key })),
    missing: of("missing").map(({ entry }) => named(entry)),
    ambiguous: of("ambiguous").map(({ entry, candidates }) => ({ ...named(entry), candidates })),
  };
}

/** `GET /v1/datasets/:dataset/registry`: the names that were kept, in the shape of the file, with paths that are keys. */
export async function get(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const kept = await asked(datasetNamed(name), async () => datasetOf(c.env, name).registry());
  if (!kept.ok) return refuse(c, kept.failure);
  const registry = formatRegistry(kept.value.map((entry) => ({ ...entry, path: entry.key ?? entry.path })));
  return answer(c, { dataset: name, registry });
}
