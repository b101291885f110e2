/**
 * The one vocabulary of failure. Every refusal and every mishap in Penstock is one of these codes; it is translated
 * exhaustively at each edge: to HTTP in `gateway/respond.ts`, to ack or retry in `queues/settle.ts`.
 *
 * A code is part of the API: it never changes its meaning, and clients may switch on it.
 */
export const FAILURES = {
  // What the caller sent.
  "invalid-body": "The request body is not what this route accepts",
  "invalid-query": "A query parameter is not what this route accepts",
  "body-too-large": "The request body is too large",
  "unsupported-media-type": "The request body must be application/json",
  "too-many-keys": "More keys than can be looked up at once",
  "invalid-cursor": "The cursor is of another query or version",
  "invalid-key": "The object key cannot be used",
  "invalid-state": "The state is not one that a checkpoint answered",
  "listing-too-long": "The listing is too long for one answer",
  "key-too-long": "The object key is longer than 1,024 bytes",
  "invalid-name": "The name is not allowed",
  "unknown-route": "There is nothing at this path",
  misdirected: "This host does not serve it",
  "method-not-allowed": "This path does not answer that method",
  // Who the caller is.
  "missing-token": "A token is needed",
  "invalid-token": "The token is not one of ours",
  "expired-token": "The token has expired",
  "token-not-yet-valid": "The token is not valid yet",
  "wrong-token-kind": "A token of another kind is needed here",
  "revoked-token": "The token has been revoked",
  "forbidden-role": "The token's role may not do this",
  "wrong-dataset": "The capability is for another dataset or version",
  "wrong-operation": "The capability does not allow this operation",
  "out-of-scope": "The token does not cover this",
  // What the caller named.
  "unknown-source": "No such source",
  "unknown-bucket": "No such bucket binding",
  "unknown-dataset": "No such dataset",
  "unknown-version": "No such version",
  "nothing-resolved": "No object goes by this name",
  "unknown-migration": "No such migration",
  "unknown-job": "No such job",
  "object-not-found": "No such object",
  "unknown-checkpoint": "No such checkpoint",
  "empty-input": "The input names nothing that is there",
  "not-zarr": "There is no Zarr array of a kind that can be cut",
  // What the state of things does not allow.
  "dataset-fixed": "A dataset's bucket, prefix and kind never change",
  "prefix-overlap": "The prefix overlaps another one",
  "dataset-without-source": "The dataset has no source to migrate from",
  "migration-running": "A migration of this dataset is running",
  "version-sealing": "An older state of the dataset is being sealed",
  "migration-ended": "The migration has ended",
  "too-many-deletes": "More objects would be deleted than the migration may delete",
  "job-ended": "The job has ended",
  "job-finishing": "The job is being finished",
  "too-many-units": "The input has more units than a job may have",
  "units-out": "Nodes still hold units",
  "unknown-lease": "No such lease was given",
  "not-your-lease": "The lease is another node's",
  "too-many-leases": "The node holds as many units as it may",
  "state-mismatch": "The state is of another input",
  "too-many-watchers": "The job is watched by as many as may at once",
  "too-many-revocations": "The dataset has as many revoked capabilities as it keeps",
  "output-not-announced": "No URL was issued for this output",
  "output-missing": "An announced output is not in the bucket",
  "output-mismatch": "An output is not what was announced",
  "output-taken": "The output's key is in use",
  "output-parts": "The parts are not those of the upload",
  "output-in-checkpoint": "The output is committed with its checkpoint",
  "object-changed": "The object is no longer what it was when its ETag was learnt",
  "ambiguous-name": "Several objects go by this name",
  "changes-forgotten": "Changes so long ago are no longer known",
  "not-records": "The object is not one of records",
  "record-broken": "A record cannot be read",
  "records-not-indexed": "The object's records are being counted for the first time",
  "version-damaged": "A file of the sealed version is missing or altered",
  "range-not-satisfiable": "The requested range is not satisfiable",
  "precondition-failed": "A precondition of the request does not hold",
  // What the source did.
  "source-not-configured": "The source is not configured completely",
  "source-unreachable": "The source cannot be reached",
  "source-wrong-region": "The source answers from another region or endpoint",
  "source-bad-credentials": "The source refuses the credentials",
  "source-no-bucket": "The source has no such bucket",
  "source-forbidden": "The source's credentials may not do this",
  "source-object-missing": "The object is no longer at the source",
  "source-changed": "The object changed at the source during the copy",
  "source-throttled": "The source asks to slow down",
  "source-limited": "The limits of the source leave no room",
  "source-unavailable": "The source is failing",
  "source-bad-answer": "The source's answer is not what S3 answers",
  "source-unsupported": "The source does not support what was asked of it",
  "source-archived": "The object is in an archive storage class and must be restored first",
  "source-truncated": "The source sent fewer or more bytes than it announced",
  // What the copy found.
  "checksum-mismatch": "The bytes received are not the bytes the source vouches for",
  "destination-changed": "The object was changed in R2 by somebody else during the migration",
  "upload-lost": "The multipart upload is no longer there",
  "metadata-too-large": "The object's metadata is larger than the 8,192 bytes that R2 takes",
  "object-too-large": "The object is larger than R2 takes",
  "unaddressable-key": "The key cannot be addressed at the source",
  "key-conflict": "Two source keys are one key in R2, which normalises keys to NFC",
  "copy-missing": "The object is at the source and not in R2",
  "copy-different": "The object in R2 is not the source's",
  "copy-unproved": "Nothing tells whether the object in R2 is the source's",
  "dead-letter": "The work was given up by the queue after its last retry",
  // What the platform did.
  "store-throttled": "R2 asks to slow down",
  "store-unavailable": "R2 is failing",
  "manifest-full": "The dataset's manifest is at its limit",
  misconfigured: "The Worker's configuration is wrong",
  internal: "Something went wrong here",
} as const;

export type FailureCode = keyof typeof FAILURES;

export interface Failure {
  readonly code: FailureCode;
  /** One sentence for a person: what is wrong, by which rule, and the way out. Never holds a token or a secret. */
  readonly detail: string;
  /** The field, parameter or header at fault, as the caller spells it. */
  readonly field?: string;
  /** Seconds after which trying again makes sense. */
  readonly retryAfterSeconds?: number;
  /** The source's answer says that too much is asked of it: 429, 503 and 504, whatever their code. */
  readonly overloaded?: true;
  /** The whole object's size in bytes, for `range-not-satisfiable` (RFC 9110, section 15.5.17). */
  readonly size?: number;
}

/** Makes a failure; `detail` defaults to the code's title. */
export function failure(
  code: FailureCode,
  detail: string = FAILURES[code],
  more: Omit<Failure, "code" | "detail"> = {},
): Failure {
  return { code, detail, ...more };
}

/** Whether the same request may succeed later without anybody changing anything. */
export function isTransient(code: FailureCode): boolean {
  return TRANSIENT.has(code);
}

const TRANSIENT: ReadonlySet<FailureCode> = new Set<FailureCode>([
  "source-unreachable",
  "source-throttled",
  "source-limited",
  "source-unavailable",
  "source-truncated",
  "source-changed",
  "source-bad-answer",
  "checksum-mismatch",
  "upload-lost",
  "records-not-indexed",
  "store-throttled",
  "store-unavailable",
  "internal",
]);
