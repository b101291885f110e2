import type { Owner } from "../core/manifest/notification.ts";
import { directoryOf } from "./objects.ts";

/** Milliseconds for which an isolate remembers whose a prefix is. */
const HOLD_MS = 10_000;
const OWNERS_MAX = 1000;

interface Known extends Owner {
  askedAt: number;
}

const known = new WeakMap<Env, Map<string, Known>>();

/**
 * Whose objects these are; null: nobody's. What is not known to belong to somebody is asked each time, so that a dataset that
 * was just registered loses none.
 *
 * @param buckets S3 names by binding
 */
export async function ownersOf(
  env: Env,
  buckets: ReadonlyMap<string, string>,
  asked: readonly { bucket: string; key: string }[],
  now: number,
): Promise<(Owner | null)[]> {
  const owners = known.get(env) ?? new Map<string, Known>();
  known.set(env, owners);
  for (const [name, { askedAt }] of owners) if (now - askedAt >= HOLD_MS) owners.delete(name);
  const bindings = (bucket: string) => [...buckets].flatMap(([binding, name]) => (name === bucket ? [binding] : []));
  const places = asked.map(({ bucket, key }) => ({ buckets: bindings(bucket), key }));
  const found = places.map(({ buckets: some, key }) => {
    for (const owner of owners.values()) {
      if (some.includes(owner.bucket) && key.startsWith(owner.prefix) && key.length > owner.prefix.length) return owner;
    }
    return null;
  });
  const open = places.filter((_, index) => found[index] === null);
  if (open.length === 0) return found;
  const told = await directoryOf(env).ownersOf(open);
  for (const owner of told) {
    if (owner !== null && owners.size < OWNERS_MAX) owners.set(owner.name, { ...owner, askedAt: now });
  }
  let next = 0;
  return found.map((owner) => owner ?? told[next++] ?? null);
}
