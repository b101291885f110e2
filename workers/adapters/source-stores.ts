import { waitUntil } from "cloudflare:workers";
import { failure } from "../core/failure.ts";
import { formatOrigin } from "../core/migration/origin.ts";
import { configuredLimits } from "../core/pressure/limits.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Credentials, SourceConfig } from "../core/source.ts";
import type { ObjectReader, PartSizeReader, PrefixReader, TagReader } from "../ports/object-store.ts";
import { configOf, credentialsOf } from "./config.ts";
import { sourceOf } from "./objects.ts";
import { createS3Client, type S3Client } from "./s3-client.ts";
import { createS3Store, READING } from "./s3-store.ts";
import { type Purpose, SourcePressure } from "./source-pressure.ts";
import { clientWithPressure, withPressure } from "./with-pressure.ts";

export type SourceStore = ObjectReader & PartSizeReader & Partial<PrefixReader & TagReader>;

const stores = new WeakMap<Env, Map<string, SourceStore>>();
const clients = new WeakMap<Env, Map<string, S3Client>>();
const pressures = new WeakMap<Env, Map<string, SourcePressure>>();

/**
 * A source of the configuration, opened once per isolate and name: the key that signs its requests is derived once a
 * day, not once a request. What it is opened for decides how long it is waited for; its limiter is one, whoever asks.
 * Refused with `misconfigured`, `unknown-source` or `source-not-configured`.
 */
export function sourceStoreOf(env: Env, name: string, purpose: Purpose): Result<SourceStore> {
  const patience = purpose === "reading" ? READING : undefined;
  return openOnce(stores, env, name, purpose, (source, credentials, pressure) =>
    withPressure(createS3Store(source, credentials, patience), pressure, purpose),
  );
}

/** `s3://bucket/prefix` of a prefix at a source of the configuration. Refused as `sourceStoreOf` is. */
export function originOf(env: Env, { name, prefix }: { name: string; prefix: string }): Result<string> {
  const config = configOf(env);
  if (!config.ok) return config;
  const source = config.value.sources.get(name);
  if (source === undefined) return fail(unknownSource(name));
  return ok(formatOrigin(source.bucket, prefix));
}

/** A client of the source, likewise, for who writes to it. */
export function sourceClientOf(env: Env, name: string): Result<S3Client> {
  return openOnce(clients, env, name, "copying", (source, credentials, pressure) =>
    clientWithPressure(createS3Client(source, credentials), pressure, "copying"),
  );
}

function openOnce<T>(
  opened: WeakMap<Env, Map<string, T>>,
  env: Env,
  name: string,
  purpose: Purpose,
  open: (source: SourceConfig, credentials: Credentials, pressure: SourcePressure) => T,
): Result<T> {
  const there = opened.get(env) ?? new Map<string, T>();
  const known = there.get(`${purpose} ${name}`);
  if (known !== undefined) return ok(known);
  const config = configOf(env);
  if (!config.ok) return config;
  const source = config.value.sources.get(name);
  if (source === undefined) return fail(unknownSource(name));
  const credentials = credentialsOf(env, name);
  if (!credentials.ok) return credentials;
  const made = open(source, credentials.value, pressureOf(env, name, source));
  opened.set(env, there.set(`${purpose} ${name}`, made));
  return ok(made);
}

const unknownSource = (name: string) => failure("unknown-source", `There is no source named "${name}".`);

/** The isolate's side of the source's limiter, which readers and consumers share. */
function pressureOf(env: Env, name: string, source: SourceConfig): SourcePressure {
  const known = pressures.get(env) ?? new Map<string, SourcePressure>();
  const there = known.get(name);
  if (there !== undefined) return there;
  const configured = configuredLimits(source);
  const lease: ConstructorParameters<typeof SourcePressure>[1] = async (ask, heard) =>
    sourceOf(env, name).lease(ask, heard, configured);
  const pressure = new SourcePressure(configured, lease, waitUntil);
  pressures.set(env, known.set(name, pressure));
  return pressure;
}
