import { type Failure, type FailureCode, FAILURES } from "../core/failure.ts";
import { formatUnsatisfiedRange } from "../core/http/range.ts";

/** The only place that knows HTTP status codes of failures. */
const STATUS: Record<FailureCode, number> = {
  "invalid-body": 400,
  "invalid-query": 400,
  "body-too-large": 413,
  "unsupported-media-type": 415,
  "too-many-keys": 400,
  "invalid-cursor": 400,
  "invalid-key": 400,
  "invalid-state": 400,
  "listing-too-long": 400,
  "key-too-long": 400,
  "invalid-name": 400,
  "unknown-route": 404,
  misdirected: 421,
  "method-not-allowed": 405,
  "missing-token": 401,
  "invalid-token": 401,
  "expired-token": 403,
  "token-not-yet-valid": 403,
  "wrong-token-kind": 403,
  "revoked-token": 403,
  "forbidden-role": 403,
  "wrong-dataset": 403,
  "wrong-operation": 403,
  "out-of-scope": 403,
  "unknown-source": 404,
  "unknown-bucket": 404,
  "unknown-dataset": 404,
  "unknown-version": 404,
  "nothing-resolved": 404,
  "unknown-migration": 404,
  "unknown-job": 404,
  "object-not-found": 404,
  "unknown-checkpoint": 404,
  "empty-input": 400,
  "not-zarr": 400,
  "dataset-fixed": 409,
  "prefix-overlap": 409,
  "dataset-without-source": 409,
  "migration-running": 409,
  "version-sealing": 409,
  "migration-ended": 409,
  "too-many-deletes": 409,
  "job-ended": 409,
  "job-finishing": 409,
  "too-many-units": 400,
  "units-out": 409,
  "too-many-leases": 409,
  "unknown-lease": 409,
  "not-your-lease": 409,
  "state-mismatch": 409,
  "too-many-watchers": 429,
  "too-many-revocations": 409,
  "output-not-announced": 409,
  "output-missing": 409,
  "output-mismatch": 409,
  "output-taken": 409,
  "output-parts": 409,
  "output-in-checkpoint": 409,
  "object-changed": 409,
  "ambiguous-name": 409,
  "changes-forgotten": 410,
  "not-records": 409,
  "record-broken": 422,
  "records-not-indexed": 503,
  "version-damaged": 500,
  "range-not-satisfiable": 416,
  "precondition-failed": 412,
  "source-not-configured": 409,
  "source-unreachable": 503,
  "source-wrong-region": 502,
  "source-bad-credentials": 502,
  "source-no-bucket": 502,
  "source-forbidden": 502,
  "source-object-missing": 502,
  "source-changed": 503,
  "source-throttled": 503,
  "source-limited": 503,
  "source-unavailable": 503,
  "source-bad-answer": 503,
  "source-truncated": 503,
  "source-unsupported": 502,
  "source-archived": 502,
  "checksum-mismatch": 502,
  "destination-changed": 409,
  "upload-lost": 502,
  "metadata-too-large": 400,
  "object-too-large": 400,
  "unaddressable-key": 400,
  "key-conflict": 409,
  "copy-missing": 409,
  "copy-different": 409,
  "copy-unproved": 409,
  "dead-letter": 500,
  "store-throttled": 503,
  "store-unavailable": 503,
  "manifest-full": 507,
  misconfigured: 500,
  internal: 500,
};

/** A failure as RFC 9457 `application/problem+json`. */
export function problem(failed: Failure, requestId: string): Response {
  const { status, headers, body } = describeProblem(failed, requestId);
  const common = { "cache-control": "no-store", "x-content-type-options": "nosniff" };
  return new Response(body, { status, headers: { ...common, ...headers } });
}

/** What a refusal consists of, for who has headers of its own to add; `headers` are those that depend on the failure. */
export function describeProblem(
  failed: Failure,
  requestId: string,
): { status: number; headers: Record<string, string>; body: string } {
  const status = STATUS[failed.code];
  const body = {
    type: `urn:penstock:problem:${failed.code}`,
    code: failed.code,
    title: FAILURES[failed.code],
    status,
    detail: failed.detail,
    ...(failed.field === undefined ? {} : { field: failed.field }),
    requestId,
  };
  const headers: Record<string, string> = { "content-type": PROBLEM, "x-request-id": requestId };
  if (status === 401) headers["www-authenticate"] = 'Bearer realm="penstock"';
  if (status === 503) headers["retry-after"] = String(failed.retryAfterSeconds ?? 2);
  else if (failed.retryAfterSeconds !== undefined) headers["retry-after"] = String(failed.retryAfterSeconds);
  if (failed.size !== undefined) headers["content-range"] = formatUnsatisfiedRange(failed.size);
  return { status, headers, body: JSON.stringify(body) };
}

export const PROBLEM = "application/problem+json";
