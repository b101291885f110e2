import type { DonePart } from "../../durable-objects/migration/uploads.ts";
import { md5Of } from "../../workers/adapters/digest.ts";
import { failure } from "../../workers/core/failure.ts";
import { mayPass } from "../../workers/core/migration/backoff.ts";
import { combineCrc64Parts, formatCrc64, parseCrc64 } from "../../workers/core/migration/crc64.ts";
import { partRange } from "../../workers/core/migration/parts.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { Checksums } from "../../workers/ports/object-store.ts";
import { type Copying, sourceKeyOf } from "./run.ts";
import type { OpenedUpload } from "./upload.ts";

/** The multipart ETag of these parts, as they were read. */
export async function multipartEtag(parts: readonly { md5: string }[]): Promise<string> {
  return `${await md5Of(Uint8Array.fromHex(parts.map(({ md5 }) => md5).join("")))}-${parts.length}`;
}

/**
 * Asks the source for its checksum of the whole object and compares the parts with it, before they become the object.
 * One request, and only where checksums are wanted and the parts' ETag does not prove more. Null: nothing was
 * compared, for the source has no checksum, or another object by now. Fails with `checksum-mismatch`, or with what
 * keeps the source from answering for the moment.
 */
export async function askWhole(
  upload: OpenedUpload,
  parts: readonly DonePart[],
  run: Copying,
): Promise<Result<"crc64nvme" | null>> {
  const { item } = upload;
  if (!run.spec.checksums || (await multipartEtag(parts)) === item.etag) return ok(null);
  const head = await run.source.head(sourceKeyOf(run, item.key), { checksums: true });
  if (!head.ok) return mayPass(head.failure.code) ? head : ok(null);
  return head.value.etag === item.etag ? compareWhole(upload, parts, head.value.checksums) : ok(null);
}

/** Compares the parts' CRCs, as they were read, combined, with the source's of the whole object; null where either is missing. */
export function compareWhole(
  upload: OpenedUpload,
  parts: readonly DonePart[],
  told: Checksums | undefined,
): Result<"crc64nvme" | null> {
  const whole = wholeCrc64(upload, parts);
  if (told?.crc64nvme === undefined || whole === null) return ok(null);
  if (whole === told.crc64nvme) return ok("crc64nvme");
  return fail(failure("checksum-mismatch", "The parts as read have another CRC-64/NVME than the source's object."));
}

/** The CRC-64/NVME of the whole object, in base64, combined from those of its parts; null where one was not computed. */
export function wholeCrc64(
  { item, plan }: Pick<OpenedUpload, "item" | "plan">,
  parts: readonly DonePart[],
): string | null {
  const stretches = parts.flatMap(({ partNumber, crc64 }) => {
    const { start, end } = partRange(plan, item.size, partNumber);
    const crc = crc64 === null ? null : parseCrc64(crc64);
    return crc === null ? [] : [{ crc, length: end - start + 1 }];
  });
  return stretches.length < parts.length ? null : formatCrc64(combineCrc64Parts(stretches));
}
