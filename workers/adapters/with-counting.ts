import type { Operations } from "../core/migration/status.ts";
import type { MultipartWriter, ObjectReader, ObjectStore, ObjectWriter, PartSizeReader } from "../ports/object-store.ts";

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
export function withSourceCounting<T extends ObjectReader & PartSizeReader>(store: T, tally: Tally): T {
  return {
    ...store,
    list: count(store.list, () => tally.sourceList++),
    get: count(store.get, () => tally.sourceGet++),
    head: count(store.head, () => tally.sourceGet++),
    firstPart: count(store.firstPart, () => tally.sourceGet++),
  };
}

/** Counts writes to a source, which S3 bills like R2's class A. */
export function withSourceWriteCounting(writer: ObjectWriter & MultipartWriter, tally: Tally): ObjectWriter & MultipartWriter {
  const put = <A extends unknown[], R>(run: (...args: A) => R) => count(run, () => tally.sourcePut++);
  return {
    ...writer,
    put: put(writer.put),
    createUpload: put(writer.createUpload),
    uploadPart: put(writer.uploadPart),
    completeUpload: put(writer.completeUpload),
  };
}

function count<A extends unknown[], R>(run: (...args: A) => R, tick: () => void): (...args: A) => R {
  return (...args) => {
    tick();
    return run(...args);
  };
}
