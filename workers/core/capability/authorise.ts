/**
 * What a capability allows, decided without a clock or a store. Its signature and its time have been checked before
 * (`Tokens.verifyCapability`); that its dataset's id is still the name's is asked of the dataset.
 */
import { type Failure, failure } from "../failure.ts";
import { fail, ok, type Result } from "../result.ts";
import { covers } from "./scope.ts";
import type { CapabilityClaims, Operation } from "./token.ts";

export type ReadMethod = "GET" | "HEAD";

/** A read as it is asked for; `key` is the decoded key, byte for byte, and never the path that it was spelt in. */
export interface ReadRequest {
  readonly datasetName: string;
  readonly version: string;
  readonly key: string;
  readonly method: ReadMethod;
}

/** The name or the id is another one's: a name that is used again is not the old dataset. */
export const WRONG_DATASET: Failure = failure("wrong-dataset", "The capability is for another dataset.", {
  field: "dataset",
});
/** A capability that somebody has revoked; those of a job that has ended say so in words of their own. */
export const REVOKED: Failure = failure("revoked-token", "The capability has been revoked; ask for a new one.");

const WRONG_VERSION = failure("wrong-dataset", "The capability is for another version of the dataset.", {
  field: "version",
});
const OUT_OF_SCOPE = failure("out-of-scope", "The capability does not cover this key.", { field: "key" });
const WRONG_OPERATION = failure("wrong-operation", "The capability allows HEAD, which asks for no bytes, and no GET.");

const METHODS: Readonly<Record<Operation, readonly ReadMethod[]>> = { read: ["GET", "HEAD"], head: ["HEAD"] };

/** Whether the capability allows the read: its dataset and version, then its key, then its method. */
export function authorise(claims: CapabilityClaims, request: ReadRequest): Result<CapabilityClaims> {
  if (claims.name !== request.datasetName) return fail(WRONG_DATASET);
  if (claims.ver !== request.version) return fail(WRONG_VERSION);
  if (!covers({ prefixes: claims.pfx, keys: claims.keys }, request.key)) return fail(OUT_OF_SCOPE);
  if (!claims.ops.some((operation) => METHODS[operation].includes(request.method))) return fail(WRONG_OPERATION);
  return ok(claims);
}

/**
 * Whether the dataset has revoked the capability: by its id, or with all that were minted up to a second. The latter
 * does not touch a job's, which end with their job.
 */
export function isRevoked(
  claims: Pick<CapabilityClaims, "jti" | "job" | "nbf">,
  revoked: { readonly ids: ReadonlySet<string>; readonly upTo: number },
): boolean {
  return revoked.ids.has(claims.jti) || (claims.job === null && claims.nbf <= revoked.upTo);
}
