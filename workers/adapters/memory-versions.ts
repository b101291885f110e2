import { failure } from "../core/failure.ts";
import { fail, ok } from "../core/result.ts";
import type { SealedObject, VersionResolver } from "../ports/version-resolver.ts";

/** A sealed version in memory, for tests: what the port promises, in the fewest words. Keys are compared byte for byte. */
export function createMemoryVersion(objects: ReadonlyMap<string, SealedObject>): VersionResolver {
  const sealed = new Map(objects);
  const find = (key: string): SealedObject | null => {
    const object = sealed.get(key);
    return object === undefined ? null : { ...object };
  };
  return {
    async resolve(key) {
      const object = find(key);
      return object === null ? fail(failure("object-not-found")) : ok(object);
    },
    resolveMany: async (keys) => ok(keys.map(find)),
  };
}
