import type { Found, KnownOutput } from "../../../durable-objects/gpu-job/outputs.ts";
import { digestBody } from "../../adapters/body-digests.ts";
import { forEachLimited } from "../../adapters/for-each-limited.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { type JobSpec, OUTPUT_JOB } from "../../core/jobs/job.ts";
import { quoted } from "../../core/jobs/output-keys.ts";
import { generationOf } from "../../core/jobs/output-mark.ts";
import { checkSentParts, type SentParts, wrongParts } from "../../core/jobs/outputs.ts";
import { CONNECTIONS_MAX } from "../../core/limits.ts";
import { type Row, UNKNOWN_ORIGIN } from "../../core/manifest/row.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { ObjectInfo, ObjectStore } from "../../ports/object-store.ts";

/** An output to look at, and the parts that it is to be put together from, where they were named. */
export interface Wanted {
  output: KnownOutput;
  parts?: SentParts | undefined;
}

/** What R2 has of each, in their order, with rows for the manifest; or why an output cannot be committed. Changes no row. */
export async function verifyOutputs(
  store: ObjectStore,
  spec: JobSpec,
  wanted: readonly Wanted[],
): Promise<Result<Found>[]> {
  const found: Result<Found>[] = [];
  await forEachLimited([...wanted.entries()], CONNECTIONS_MAX, async ([index, each]) => {
    found[index] = await verify(store, spec, each);
  });
  return found;
}

async function verify(store: ObjectStore, spec: JobSpec, { output, parts }: Wanted): Promise<Result<Found>> {
  if (output.partBytes === null && parts !== undefined) {
    return fail(wrongParts(`${quoted(output.key)} is put in one piece; commit it without parts.`));
  }
  const there =
    output.partBytes === null
      ? withoutParts(await look(store, spec, output))
      : await complete(store, spec, output, parts);
  if (!there.ok) return there;
  const { stored, isCompleted } = there.value;
  const sha256 = await proveSha256(store, spec, output, stored);
  if (!sha256.ok) return sha256;
  return ok({ row: rowOf(spec, output.key, stored, sha256.value), generation: output.generation, isCompleted });
}

/** What is at the key, and whether it was put together just now. */
type AtKey = Omit<Found, "row" | "generation"> & { stored: ObjectInfo };

const withoutParts = (looked: Result<ObjectInfo>): Result<AtKey> =>
  looked.ok ? ok({ stored: looked.value, isCompleted: false }) : looked;

/** The output, if it is at its key as it was announced. */
async function look(store: ObjectStore, spec: JobSpec, output: KnownOutput): Promise<Result<ObjectInfo>> {
  const there = await store.head(spec.prefix + output.key, { checksums: true });
  if (there.ok) {
    const refused = checkOutput(spec, output, there.value);
    return refused === null ? there : fail(refused);
  }
  if (there.failure.code !== "object-not-found") return there;
  const wayOut = output.partBytes === null ? "put it" : "put its parts and commit it with them";
  const detail = `${quoted(output.key)} is not there; ${wayOut}, or leave it out of outputs.`;
  return fail(failure("output-missing", detail, { field: "outputs" }));
}

/**
 * Puts an output together from its parts. An answer that was lost is asked for again, and finds the object. R2's `complete`
 * takes no condition, so the key is looked at just before; the moment between the two remains: of two jobs that put one key
 * in parts at the same time, the second may write over what the first has just committed.
 */
async function complete(
  store: ObjectStore,
  spec: JobSpec,
  output: KnownOutput,
  parts: SentParts | undefined,
): Promise<Result<AtKey>> {
  const { key, uploadId, partBytes, size } = output;
  const before = withoutParts(await look(store, spec, output));
  if (before.ok || before.failure.code !== "output-missing") return before;
  if (uploadId === null || partBytes === null || parts === undefined) return before;
  const refused = checkSentParts(key, parts, Math.ceil(size / partBytes));
  if (refused !== null) return fail(refused);
  const sorted = parts
    .map(({ number, etag }) => ({ partNumber: number, etag }))
    .toSorted((a, b) => a.partNumber - b.partNumber);
  const completed = await store.completeUpload(spec.prefix + key, uploadId, sorted);
  // What is there tells more than the answer: the other of two who complete at once has none.
  const after = await look(store, spec, output);
  if (after.ok) return ok({ stored: after.value, isCompleted: completed.ok });
  if (completed.ok) return after;
  if (completed.failure.code !== "upload-lost") return completed;
  return fail(
    wrongParts(
      `R2 has no such parts of ${quoted(key)}: ${completed.failure.detail} Put all of them again, or abort it.`,
    ),
  );
}

/** An output is the job's when it is as it was announced, and was put by a URL of this announcement. */
function checkOutput(spec: JobSpec, output: KnownOutput, stored: ObjectInfo): Failure | null {
  const { key, size, partBytes, generation } = output;
  const field = { field: "outputs" };
  if (stored.custom[OUTPUT_JOB] !== spec.id) {
    const detail = `${quoted(key)} was there before, and was not put by this job; choose another key.`;
    return failure(partBytes === null ? "output-mismatch" : "output-taken", detail, field);
  }
  if (generationOf(stored.custom, spec.id) !== generation) {
    return failure("output-mismatch", `${quoted(key)} was put by a URL of an older announcement. ${ANEW}`, field);
  }
  if (stored.size === size) return null;
  return failure("output-mismatch", `${quoted(key)} has ${stored.size} bytes; ${size} were announced. ${ANEW}`, field);
}

const ANEW = "Abort it, announce it anew and put it again.";

/** The SHA-256 that an object is proved to have; what was announced and is not proved is refused. Null: nobody asked. */
async function proveSha256(
  store: ObjectStore,
  spec: JobSpec,
  { key, sha256 }: KnownOutput,
  stored: ObjectInfo,
): Promise<Result<string | null>> {
  const told = stored.checksums?.sha256 ?? null;
  if (sha256 === null) return ok(told);
  if (told === sha256) return ok(told);
  const got = await store.get(spec.prefix + key, { ifMatch: stored.etag });
  if (!got.ok) return got;
  const read = await digestBody(got.value.body, got.value.length, { sha256: true });
  if (!read.ok) return read;
  if (read.value.sha256 === sha256) return ok(sha256);
  const detail = `The SHA-256 of ${quoted(key)} is ${read.value.sha256 ?? ""}; ${sha256} was announced. ${ANEW}`;
  return fail(failure("output-mismatch", detail, { field: "outputs" }));
}

function rowOf(spec: JobSpec, key: string, stored: ObjectInfo, sha256: string | null): Row {
  return {
    key,
    size: stored.size,
    etag: stored.etag,
    uploadedAt: stored.lastModified,
    contentType: stored.http.contentType ?? null,
    contentEncoding: stored.http.contentEncoding ?? null,
    md5: stored.md5,
    sha256,
    crc64nvme: null,
    ...UNKNOWN_ORIGIN,
    writer: spec.id,
  };
}
