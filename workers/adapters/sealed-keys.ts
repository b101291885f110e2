import { failure } from "../core/failure.ts";
import { DELETES_PAGES_MAX, LOOK_UP_REQUESTS_MAX } from "../core/limits.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { SealedKeys } from "../ports/sealed-keys.ts";
import { datasetOf } from "./objects.ts";
import { findSealed } from "./sealed-versions.ts";

/** Requests that open a version, at most; and those that ask the Dataset. */
const OPENING_REQUESTS = 3;

/** Of the requests that look-ups may make, those of one at most. */
const ONE_LOOK_UP_MAX = 3000;

/** What the look-ups of one batch may cost in all versions together. */
const BATCH_MOST = { requests: LOOK_UP_REQUESTS_MAX, pages: DELETES_PAGES_MAX };

/**
 * Which of these objects a version holds, sealed or being sealed. The Dataset knows it of the last one by its rows; of older
 * ones their indexes do, and are asked for what has changed since.
 *
 * Each version may cost an equal share of `most`: the more there are, the fewer and the longer are the reads of each. Where
 * that is not enough (`too-many-keys`), trying again is of no use, but asking for fewer keys at once is.
 */
export const sealedKeysOf =
  (env: Env, most: { requests: number; pages: number } = BATCH_MOST): SealedKeys =>
  async (dataset, objects, requestsMax): Promise<Result<ReadonlySet<string>>> => {
    const among = await datasetOf(env, dataset.name).sealedAmong(dataset.id, [...objects]);
    const sealed = new Set(among.sealed);
    const [requests = 0, pages = 0] = [most.requests, most.pages].map((all) => Math.floor(all / among.versions.length));
    const limited =
      requestsMax === undefined
        ? requests
        : Math.min(requests, Math.floor((requestsMax - 1) / among.versions.length) - OPENING_REQUESTS);
    // What is not opened costs nothing.
    if (limited < 1 && among.versions.length > 0) return tooMany(among.versions.length);
    for (const version of among.versions) {
      const asked = objects.filter(({ key }) => !sealed.has(key));
      if (asked.length === 0) break;
      const resolver = await findSealed(env, dataset, String(version));
      if (!resolver.ok) return resolver;
      const keys = asked.map(({ key }) => key);
      const share = { requests: limited, pages };
      const found = await resolver.value.resolveMany(keys, { original: () => true, most: share });
      if (!found.ok) return found.failure.code === "too-many-keys" ? tooMany(among.versions.length) : found;
      for (const [index, { key, etag }] of asked.entries()) if (found.value[index]?.etag === etag) sealed.add(key);
    }
    return ok(sealed);
  };

/**
 * Where so many keys are too many to be looked up at once, fewer are, each time with half of what is left of the requests;
 * what is too much alone, or has none left, is taken to be sealed.
 */
export async function sealedAmong(
  sealedKeys: SealedKeys,
  dataset: { id: string; name: string },
  items: readonly { key: string; etag: string }[],
  requests: { left: number },
): Promise<Result<ReadonlySet<string>>> {
  const most = Math.min(ONE_LOOK_UP_MAX, Math.ceil(requests.left / 2));
  if (most < 1) return ok(new Set(items.map(({ key }) => key)));
  requests.left -= most;
  const found = await sealedKeys(dataset, items, most);
  if (found.ok || found.failure.code !== "too-many-keys") return found;
  if (items.length === 1) return ok(new Set(items.map(({ key }) => key)));
  const middle = items.length >> 1;
  const first = await sealedAmong(sealedKeys, dataset, items.slice(0, middle), requests);
  if (!first.ok) return first;
  const second = await sealedAmong(sealedKeys, dataset, items.slice(middle), requests);
  return second.ok ? ok(first.value.union(second.value)) : second;
}

const tooMany = (versions: number): Result<never> => {
  const detail = `Before the last version, ${versions} are sealed: too many to look so many keys up in. With "deleteSealed": true nothing is looked up.`;
  return fail(failure("too-many-keys", detail, { field: "deleteSealed" }));
};
