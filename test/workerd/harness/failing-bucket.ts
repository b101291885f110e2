/** What a call does instead of answering: nothing at all, or its work, and its answer is lost. */
export type Mishap = "refused" | "unanswered";

/** Asked before each call; null: it goes well. */
export type Fate = (method: string) => Mishap | null;

/** R2's words for trouble of its own (developers.cloudflare.com/r2/api/error-codes), and the runtime's for a lost connection. */
const REFUSALS = [
  "We encountered an internal error. Please try again. (10001)",
  "Please try again. (10054)",
  "Reduce your concurrent request rate for the same object. (10058)",
  "Network connection lost.",
];

const CALLS = new Set(["head", "get", "put", "list", "delete", "createMultipartUpload"]);
const UPLOAD_CALLS = new Set(["uploadPart", "complete", "abort"]);

/** A bucket whose calls, and those of its uploads, may fail. */
export function failingBucket(bucket: R2Bucket, fate: Fate): { bucket: R2Bucket; failed: () => number } {
  let failed = 0;
  const wrap = <T extends object>(object: T, calls: ReadonlySet<string>): T =>
    new Proxy(object, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        const method = value.bind(target) as (...args: unknown[]) => unknown;
        if (name === "resumeMultipartUpload") {
          return (...args: unknown[]) => wrap(method(...args) as R2MultipartUpload, UPLOAD_CALLS);
        }
        if (typeof name !== "string" || !calls.has(name)) return method;
        return async (...args: unknown[]) => {
          const mishap = fate(name);
          if (mishap === null) return method(...args);
          if (mishap === "unanswered") await method(...args);
          failed += 1;
          throw new Error(REFUSALS[failed % REFUSALS.length]);
        };
      },
    });
  return { bucket: wrap(bucket, CALLS), failed: () => failed };
}
