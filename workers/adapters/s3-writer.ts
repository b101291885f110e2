import { type Failure, failure } from "../core/failure.ts";
import { KEY_MAX_BYTES } from "../core/limits.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Credentials, SourceConfig } from "../core/source.ts";
import type { MultipartWriter, ObjectInfo, ObjectWriter, PutOptions } from "../ports/object-store.ts";
import { md5Of, sha256Of } from "./digest.ts";
import { exactStream, wrongChecksum } from "./exact-stream.ts";
import { classify, fieldsOf, isEncrypted, parseEtag, parseInfo } from "./s3-answers.ts";
import { createS3Client, type S3Client } from "./s3-client.ts";
import { formatMetadata } from "./s3-metadata.ts";
import { COPYING } from "./s3-store.ts";
import { formatParts, parseCompleted, parseError, parseUploadId } from "./s3-xml.ts";

type Body = Parameters<ObjectWriter["put"]>[1];

/** Of an operation that carries nothing, and of one that carries a body or has S3 put an object together. */
const BRIEF = { seconds: COPYING.answerSeconds };
const LONG = { seconds: COPYING.bodySeconds };

/** An S3-compatible bucket as an object writer, by a client of its own. */
export const createS3Writer = (source: SourceConfig, credentials: Credentials): ObjectWriter & MultipartWriter =>
  writerBy(createS3Client(source, credentials));

/**
 * The bucket that the client asks as an object writer. Failures are named as a source's are (`source-forbidden`, ...).
 *
 * **A conditional put looks first.** Servers that do not know If-None-Match or If-Match on a put (AWS until August and
 * November 2024, and others) mostly ignore them in silence: a HEAD tells what they would write over. The condition is sent
 * all the same, for it holds in the moment between the two. A server that refuses it (501) is `source-unsupported`, and
 * nothing is written: without it whatever is put meanwhile would be lost.
 *
 * **What was put is looked at.** A put's answer has an ETag and no more; a HEAD tells what is there, and that it is ours.
 *
 * No `x-amz-checksum-*` is sent: SDKs that add theirs break on servers that know none. Content-MD5 is known to all; a
 * SHA-256 is compared here, before the last byte is sent. Keys are sent as they are; S3 does not normalise them.
 */
export function writerBy(client: S3Client): ObjectWriter & MultipartWriter {
  async function head(key: string): Promise<Result<ObjectInfo>> {
    const answer = await client.send({ method: "HEAD", key, asked: "headers", ...BRIEF });
    return answer.ok ? parseInfo(key, answer.value) : answer;
  }

  /** Why the put's condition does not hold, if it does not. */
  async function look(key: string, onlyIf: PutOptions["onlyIf"]): Promise<Failure | null> {
    if (onlyIf === undefined) return null;
    const there = await head(key);
    if (!there.ok && there.failure.code !== "object-not-found") return there.failure;
    const etag = there.ok ? there.value.etag : null;
    return etag === (onlyIf === "absent" ? null : onlyIf.etag) ? null : failure("precondition-failed");
  }

  /** What is at the key, which must be what was just written. */
  async function written(key: string, etag: string): Promise<Result<ObjectInfo>> {
    const there = await head(key);
    if (there.ok && there.value.etag === etag) return there;
    if (there.ok) return fail(failure("source-changed", "Another object was put to the key right after it."));
    const isGone = there.failure.code === "object-not-found";
    return isGone ? fail(failure("source-unavailable", "What was written is not there, or not yet.")) : there;
  }

  /** Takes an object away whose bytes are not those that were sent, while it is the one that was written. */
  async function discard(key: string, etag: string): Promise<void> {
    const there = await head(key);
    if (there.ok && there.value.etag === etag) await remove(key);
  }

  async function remove(key: string): Promise<Result<null>> {
    const answer = await client.sendAndRead({ method: "DELETE", key, asked: "write", ...BRIEF });
    if (answer.ok || answer.failure.code === "object-not-found") return ok(null);
    return answer;
  }

  async function send(key: string, body: Body, options: PutOptions, headers: Headers): Promise<Result<ObjectInfo>> {
    const { size, onlyIf, sha256 } = options;
    const bytes = body instanceof Uint8Array ? body : null;
    if (bytes !== null && sha256 !== undefined && (await sha256Of(bytes)) !== sha256) return fail(wrongChecksum());
    // A stream's MD5 is computed on its way where none is known, and compared afterwards.
    const known = options.md5 ?? (bytes === null ? null : await md5Of(bytes));
    const expected = sha256 === undefined ? undefined : { sha256 };
    const stream = body instanceof Uint8Array ? null : exactStream(body, size, { md5: known === null, expected });
    if (known !== null) headers.set("content-md5", Uint8Array.fromHex(known).toBase64());
    for (const [name, value] of Object.entries(conditionOf(onlyIf))) headers.set(name, value);
    const sent = stream?.readable ?? body;
    const answer = await client.send({
      method: "PUT",
      key,
      asked: "write",
      headers: Object.fromEntries(headers),
      body: sent,
      bytes: size,
      ...LONG,
    });
    if (!answer.ok) {
      await cancel(sent);
      return fail((await stream?.broken) ?? conditional(answer.failure, onlyIf));
    }
    await answer.value.body?.cancel();
    const fields = fieldsOf(answer.value.headers);
    const etag = parseEtag(fields);
    if (etag === "") return fail(failure("source-bad-answer", "The answer to a put has no ETag."));
    // A server that answers before it has the body keeps nobody waiting for the rest.
    await cancel(sent);
    const md5 = known ?? (await stream?.md5) ?? null;
    // An ETag of another form is no MD5 of anything, and says nothing.
    if (/^[0-9a-f]{32}$/.test(etag) && etag !== md5 && !isEncrypted(fields)) {
      await discard(key, etag);
      return fail(
        failure(
          "checksum-mismatch",
          `The answer's ETag is ${etag}, where the MD5 of what was sent is ${md5 ?? "not known"}.`,
        ),
      );
    }
    return written(key, etag);
  }

  return {
    async put(key, body, options) {
      const refused = checkKey(key) ?? (await look(key, options.onlyIf));
      const headers = refused === null ? formatMetadata(options) : fail(refused);
      if (headers.ok) return send(key, body, options, headers.value);
      await cancel(body);
      return headers;
    },

    delete: remove,

    async createUpload(key, metadata) {
      const refused = checkKey(key);
      if (refused !== null) return fail(refused);
      const headers = formatMetadata(metadata);
      if (!headers.ok) return headers;
      const answer = await client.sendAndRead({
        method: "POST",
        key,
        query: { uploads: "" },
        asked: "write",
        headers: Object.fromEntries(headers.value),
        ...BRIEF,
      });
      if (!answer.ok) return answer;
      const uploadId = parseUploadId(answer.value);
      return uploadId === null ? fail(failure("source-bad-answer", "The answer names no upload.")) : ok(uploadId);
    },

    async uploadPart(key, uploadId, partNumber, body, bytes) {
      const query = { partNumber: String(partNumber), uploadId };
      const answer = await client.send({ method: "PUT", key, query, asked: "write", body, bytes, ...LONG });
      if (!answer.ok) {
        await cancel(body);
        return answer;
      }
      await answer.value.body?.cancel();
      const etag = parseEtag(fieldsOf(answer.value.headers));
      return etag === "" ? fail(failure("source-bad-answer", "The answer to a part has no ETag.")) : ok(etag);
    },

    async completeUpload(key, uploadId, parts, onlyIf) {
      const answer = await client.sendAndRead({
        method: "POST",
        key,
        query: { uploadId },
        asked: "write",
        headers: { "content-type": "application/xml", ...conditionOf(onlyIf) },
        body: formatParts(parts),
        ...LONG,
      });
      if (!answer.ok) return fail(conditional(answer.failure, onlyIf));
      const etag = parseCompleted(answer.value);
      if (etag !== null) return written(key, etag);
      // S3 answers 200 before it knows, and says in the body that it failed (CompleteMultipartUpload, API Reference).
      const { code } = parseError(answer.value);
      if (code === "")
        return fail(failure("source-bad-answer", "The answer does not say that the upload is complete."));
      return fail(classify(new Response(null, { status: 500 }), answer.value, "write"));
    },

    async abortUpload(key, uploadId) {
      const answer = await client.sendAndRead({
        method: "DELETE",
        key,
        query: { uploadId },
        asked: "write",
        ...BRIEF,
      });
      return answer.ok || answer.failure.code === "upload-lost" ? ok(null) : answer;
    },
  };
}

const conditionOf = (onlyIf: PutOptions["onlyIf"]): Record<string, string> => {
  if (onlyIf === undefined) return {};
  return onlyIf === "absent" ? { "if-none-match": "*" } : { "if-match": `"${onlyIf.etag}"` };
};

/** What a refusal means where a condition was sent. */
function conditional(refusal: Failure, onlyIf: PutOptions["onlyIf"]): Failure {
  if (onlyIf === undefined) return refusal;
  // If-Match, and nothing is there.
  if (refusal.code === "object-not-found") return failure("precondition-failed", refusal.detail);
  if (refusal.code !== "source-unsupported") return refusal;
  const header = onlyIf === "absent" ? "If-None-Match" : "If-Match";
  const detail = `The server takes no ${header} where an object is written, and was not asked without it: nothing was written.`;
  return failure("source-unsupported", `${detail} It said ${refusal.detail}`);
}

function checkKey(key: string): Failure | null {
  const bytes = new TextEncoder().encode(key).length;
  return bytes > KEY_MAX_BYTES
    ? failure("key-too-long", `The key has ${bytes} bytes; S3 takes ${KEY_MAX_BYTES}.`)
    : null;
}

/** Who still sends a body that nobody wants is told so. */
async function cancel(body: Body): Promise<void> {
  if (body instanceof ReadableStream) await body.cancel().catch(() => undefined);
}
