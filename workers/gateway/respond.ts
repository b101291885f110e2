import { type Failure, type FailureCode, FAILURES } from "../core/failure.ts";

/** The only place that knows HTTP status codes of failures. */
const STATUS: Record<FailureCode, number> = {
  "invalid-body": 400,
  "invalid-query": 400,
  "body-too-large": 413,
  "unsupported-media-type": 415,
  "invalid-key": 400,
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
  "unknown-migration": 404,
  "unknown-job": 404,
  "object-not-found": 404,
  "dataset-fixed": 409,
  "prefix-overlap": 409,
  "dataset-without-source": 409,
  "migration-running": 409,
  "job-ended": 409,
  "too-many-revocations": 409,
  "output-not-announced": 409,
  "output-missing": 409,
  "output-mismatch": 409,
  "object-changed": 409,
  "range-not-satisfiable": 416,
  "precondition-failed": 412,
  "source-not-configured": 409,
  "source-unreachable": 502,
  "source-wrong-region": 502,
  "source-bad-credentials": 502,
  "source-no-bucket": 502,
  "source-forbidden": 502,
  "source-object-missing": 502,
  "source-changed": 502,
  "source-throttled": 503,
  "source-unavailable": 503,
  "source-bad-answer": 502,
  "source-truncated": 502,
  "source-archived": 502,
  "checksum-mismatch": 502,
  "destination-changed": 409,
  "upload-lost": 502,
  "metadata-too-large": 400,
  "object-too-large": 400,
  "unaddressable-key": 400,
  "key-conflict": 409,
  "dead-letter": 500,
  "store-throttled": 503,
  "store-unavailable": 503,
  "manifest-full": 507,
  misconfigured: 500,
  internal: 500,
};

/** A failure as RFC 9457 `application/problem+json`. */
export function problem(failed: Failure, requestId: string): Response {
  const status = STATUS[failed.code];
  const headers = new Headers({
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-request-id": requestId,
  });
  if (status === 401) headers.set("www-authenticate", 'Bearer realm="penstock"');
  if (status === 503) headers.set("retry-after", String(failed.retryAfterSeconds ?? 2));
  if (failed.size !== undefined) headers.set("content-range", `bytes */${failed.size}`);
  const body = {
    type: `urn:penstock:problem:${failed.code}`,
    code: failed.code,
    title: FAILURES[failed.code],
    status,
    detail: failed.detail,
    ...(failed.field === undefined ? {} : { field: failed.field }),
    requestId,
  };
  return new Response(JSON.stringify(body), { status, headers });
}
