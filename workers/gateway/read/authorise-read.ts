import { type KnownDataset, knownDataset, recallDataset } from "../../adapters/known-datasets.ts";
import { isKnownToRun, revokedByJob } from "../../adapters/revocation.ts";
import { authorise, isRevoked, REVOKED, WRONG_DATASET } from "../../core/capability/authorise.ts";
import type { CapabilityClaims, Tokens } from "../../core/capability/token.ts";
import { type Failure, failure } from "../../core/failure.ts";
import type { DataTarget } from "../../core/http/key-path.ts";
import type { ServerTiming } from "../../core/read/server-timing.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { bearer } from "../auth.ts";

export interface Authorised {
  claims: CapabilityClaims;
  dataset: KnownDataset;
}

/**
 * The capability of a request, from the path, the header or the query, and the dataset that it opens. In this order, so
 * that nobody learns what there is without a capability: signature and time, what it covers, whether the dataset is the
 * one it was minted for, whether it was revoked.
 */
export async function authoriseRead(
  request: Request,
  target: DataTarget,
  context: {
    env: Env;
    tokens: Tokens;
    timing: ServerTiming;
    now: number;
    waitUntil(work: Promise<unknown>): void;
  },
): Promise<Result<Authorised>> {
  const { env, tokens, timing, now, waitUntil } = context;
  const token = target.door === "t" ? ok(target.capability) : presented(request, target.token);
  if (!token.ok) return token;
  const verified =
    tokens.recallCapability(token.value, now) ?? (await timing.time("auth", tokens.verifyCapability(token.value, now)));
  if (!verified.ok) return verified;
  const { dataset: datasetName, version, key } = target;
  const method = request.method === "HEAD" ? "HEAD" : "GET";
  const claims = authorise(verified.value, { datasetName, version, key, method });
  if (!claims.ok) return claims;
  const known = recallDataset(datasetName, now);
  const dataset = known === null ? await timing.time("resolve", knownDataset(env, datasetName, waitUntil)) : ok(known);
  if (!dataset.ok) return fail(dataset.failure.code === "unknown-dataset" ? gone(dataset.failure) : dataset.failure);
  // A name used again is not the old dataset: the capability holds its id.
  if (claims.value.ds !== dataset.value.config.id) return fail(WRONG_DATASET);
  if (isRevoked(claims.value, dataset.value.revoked)) return fail(REVOKED);
  const { job } = claims.value;
  const isGood = job === null || isKnownToRun(job, now);
  const revoked = isGood ? null : await timing.time("auth", revokedByJob(env, job, waitUntil));
  return revoked === null ? ok({ claims: claims.value, dataset: dataset.value }) : fail(revoked);
}

/** Only an object may be missing on the data plane: a Zarr reader takes a 404 for a chunk of fill values. */
const gone = (failed: Failure): Failure => failure("wrong-dataset", failed.detail, { field: "dataset" });

function presented(request: Request, fromQuery: string | null): Result<string> {
  const header = request.headers.get("authorization");
  return header === null && fromQuery !== null ? ok(fromQuery) : bearer(header);
}
