import { failure } from "../core/failure.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { ObjectReader, PartSizeReader } from "../ports/object-store.ts";
import { configOf, credentialsOf } from "./config.ts";
import { createS3Store, READING } from "./s3-store.ts";

export type SourceStore = ObjectReader & PartSizeReader;

/** What the source is opened for decides how long it is waited for. */
type Purpose = "reading" | "copying";

const opened = new WeakMap<Env, Map<string, SourceStore>>();

/**
 * A source of the configuration, opened once per isolate and name: the key that signs its requests is derived once a
 * day, not once a request. Refused with `misconfigured`, `unknown-source` or `source-not-configured`.
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
  const store = createS3Store(source, credentials.value, purpose === "reading" ? READING : undefined);
  opened.set(env, stores.set(`${purpose} ${name}`, store));
  return ok(store);
}
