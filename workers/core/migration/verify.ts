import { type Failure, failure } from "../failure.ts";
import type { Proof } from "../manifest/row.ts";
import { type Listed, type Remembered, storeKey } from "./join.ts";
import type { CopyItem } from "./message.ts";
import { partCount } from "./parts.ts";

export interface VerifyPlan {
  /** Found to be the source's by what both listings and the manifest say. */
  proved: { item: Listed; proof: Proof }[];
  /** To be read back. */
  toRead: CopyItem[];
  failures: { key: string; failure: Failure }[];
}

/**
 * Compares one page of the source with what R2 lists there; also for objects that some other tool copied.
 *
 * Equal ETags prove equal bytes: as an MD5, or as a multipart ETag of equal parts. Else the manifest may say that R2's present
 * ETag was copied from the source's present one, and how that was proved. Two ETags of one kind that differ are two
 * objects; of two kinds they say nothing, and only reading tells (`isDeep`).
 *
 * @param there what R2 has at those keys, by NFC key
 * @param remembered manifest rows of those keys, by NFC key
 * @param isDeep whether what is there is to be read back, however equal it looks
 */
export function verifyPage(
  source: readonly Listed[],
  there: ReadonlyMap<string, { etag: string; size: number }>,
  remembered: ReadonlyMap<string, Remembered & { proof?: Proof | null }>,
  isDeep: boolean,
): VerifyPlan {
  const plan: VerifyPlan = { proved: [], toRead: [], failures: [] };
  const owners = Map.groupBy(source, ({ key }) => storeKey(key));
  for (const object of source) {
    const key = storeKey(object.key);
    const refuse = (failed: Failure) => plan.failures.push({ key: object.key, failure: failed });
    const found = there.get(key);
    if ((owners.get(key)?.length ?? 0) > 1) refuse(failure("key-conflict"));
    else if (found === undefined) refuse(failure("copy-missing"));
    else if (found.size !== object.size) {
      refuse(failure("copy-different", `R2 has ${found.size} bytes, the source ${object.size}.`));
    } else if (isDeep) {
      const { size, etag, lastModified } = object;
      plan.toRead.push({ key: object.key, size, etag, lastModified, was: found.etag });
    } else {
      const verdict = judge(object, found, remembered.get(key));
      if (typeof verdict === "string") plan.proved.push({ item: object, proof: verdict });
      else refuse(verdict);
    }
  }
  return plan;
}

function judge(
  object: Listed,
  found: { etag: string },
  row: (Remembered & { proof?: Proof | null }) | undefined,
): Proof | Failure {
  if (found.etag === object.etag) return partCount(object.etag) === null ? "md5" : "etag";
  const isKnown = row !== undefined && row.etag === found.etag && row.sourceEtag === object.etag;
  if (isKnown && row.proof !== undefined && row.proof !== null && row.proof !== "size") return row.proof;
  if (isKnown) return failure("copy-unproved", "It was copied with nothing but its size to compare; verify deep.");
  if (isMd5(found.etag) && isMd5(object.etag)) {
    return failure(
      "copy-different",
      "The MD5s that the two ETags are differ, and so do the objects, unless it is encrypted.",
    );
  }
  return failure(
    "copy-unproved",
    "The two ETags are of different kinds and the manifest does not know the copy; verify deep.",
  );
}

const isMd5 = (etag: string): boolean => /^[0-9a-f]{32}$/.test(etag);
