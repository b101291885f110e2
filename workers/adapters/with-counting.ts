import type { Operations } from "../core/migration/status.ts";
import type { ObjectReader, ObjectStore, PartSizeReader, PrefixReader, TagReader } from "../ports/object-store.ts";
import type { S3Client, S3Request } from "./s3-client.ts";

/** What was done so far, as it is billed: a refused put is a class A operation like any other. */
export type Tally = Operations;

export const newTally = (): Tally => ({ classA: 0, classB: 0, queue: 0, sourceGet: 0, sourceList: 0, sourcePut: 0 });

/** Counts R2's class A (put, list, multipart) and class B (get, head) operations. Delete and abort are free. */
export function withR2Counting(store: ObjectStore, tally: Tally): ObjectStore {
  const a = <A extends unknown[], R>(run: (...args: A) => R) => count(run, () => tally.classA++);
  const b = <A extends unknown[], R>(run: (...args: A) => R) => count(run, () => tally.classB++);
  return {
    ...store,
    list: a(store.list),
    put: a(store.put),
    createUpload: a(store.createUpload),
    uploadPart: a(store.uploadPart),
    completeUpload: a(store.completeUpload),
    get: b(store.get),
    head: b(store.head),
  };
}

/** Counts requests to a source: listings, and GETs and HEADs, which S3 bills alike. */
export function withSourceCounting<T extends ObjectReader & PartSizeReader & Partial<PrefixReader & TagReader>>(
  store: T,
  tally: Tally,
): T {
  return {
    ...store,
    ...(store.prefixes === undefined ? {} : { prefixes: count(store.prefixes, () => tally.sourceList++) }),
    ...(store.tags === undefined ? {} : { tags: count(store.tags, () => tally.sourceGet++) }),
    list: count(store.list, () => tally.sourceList++),
    get: count(store.get, () => tally.sourceGet++),
    head: count(store.head, () => tally.sourceGet++),
    firstPart: count(store.firstPart, () => tally.sourceGet++),
  };
}

/**
 * Counts what a writer asks of a source, request by request: what it puts, which S3 bills like R2's class A, and what it
 * looks at before and after. Delete and abort are free.
 */
export function withRequestCounting(client: S3Client, tally: Tally): S3Client {
  const tick = ({ method }: S3Request) => {
    if (method === "PUT" || method === "POST") tally.sourcePut++;
    else if (method !== "DELETE") tally.sourceGet++;
  };
  return { send: count(client.send, tick), sendAndRead: count(client.sendAndRead, tick) };
}

function count<A extends unknown[], R>(run: (...args: A) => R, tick: (...args: A) => void): (...args: A) => R {
  return (...args) => {
    tick(...args);
    return run(...args);
  };
}
