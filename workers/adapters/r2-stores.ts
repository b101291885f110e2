import type { ObjectStore, Refresher } from "../ports/object-store.ts";
import { bucketOf } from "./config.ts";
import { createR2Store } from "./r2-store.ts";

const opened = new WeakMap<Env, Map<string, ObjectStore & Refresher>>();

/** The store behind an R2 binding, opened once per isolate; null where there is no such binding. */
export function r2StoreOf(env: Env, binding: string): (ObjectStore & Refresher) | null {
  const known = opened.get(env)?.get(binding);
  if (known !== undefined) return known;
  const bucket = bucketOf(env, binding);
  if (bucket === null) return null;
  const store = createR2Store(bucket);
  opened.set(env, (opened.get(env) ?? new Map<string, ObjectStore & Refresher>()).set(binding, store));
  return store;
}
