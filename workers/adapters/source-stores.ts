import { failure } from "../core/failure.ts";
import { configuredLimits } from "../core/pressure/limits.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { SourceConfig } from "../core/source.ts";
import type { ObjectReader, PartSizeReader } from "../ports/object-store.ts";
import { configOf, credentialsOf } from "./config.ts";
import { sourceOf } from "./objects.ts";
import { createS3Store, READING } from "./s3-store.ts";
import { type Purpose, SourcePressure } from "./source-pressure.ts";
import { withPressure } from "./with-pressure.ts";

export type SourceStore = ObjectReader & PartSizeReader;

const opened = new WeakMap<Env, Map<string, SourceStore>>();
const pressures = new WeakMap<Env, Map<string, SourcePressure>>();

/**
 * A source of the configuration, opened once per isolate and name: the key that signs its requests is derived once a
 * day, not once a request. What it is opened for decides how long it is waited for; its limiter is one, whoever asks.
 * Refused with `misconfigured`, `unknown-source` or `source-not-configured`.
 */
export function sourceStoreOf(env: Env, name: string, purpose: Purpose): Result<SourceStore> {
  const stores = opened.get(env) ?? new Map<string, SourceStore>();
  const known = stores.get(`${purpose} ${name}`);
  if (known !== undefined) return ok(known);
  const config = configOf(env);
  if (!config.ok) return config;
  const source = config.value.sources.get(name);
  if (source === undefined) return fail(failure("unknown-source", `There is no source named "${name}".`));
  const credentials = credentialsOf(env, name);
  if (!credentials.ok) return credentials;
  const patience = purpose === "reading" ? READING : undefined;
  const store = withPressure(
    createS3Store(source, credentials.value, patience),
    pressureOf(env, name, source),
    purpose,
  );
  opened.set(env, stores.set(`${purpose} ${name}`, store));
  return ok(store);
}

/** The isolate's side of the source's limiter, which readers and consumers share. */
function pressureOf(env: Env, name: string, source: SourceConfig): SourcePressure {
  const known = pressures.get(env) ?? new Map<string, SourcePressure>();
  const there = known.get(name);
  if (there !== undefined) return there;
  const configured = configuredLimits(source);
  const pressure = new SourcePressure(configured, async (ask, heard) =>
    sourceOf(env, name).lease(ask, heard, configured),
  );
  pressures.set(env, known.set(name, pressure));
  return pressure;
}
