import { failure } from "../core/failure.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { Digest } from "./exact-stream.ts";

/** Hashes to be computed beside the MD5. */
export interface WantedDigests {
  sha256?: boolean;
  /** CRC-64/NVME. */
  crc64?: boolean;
  /** Part sizes in bytes: the MD5 of each part that the body is cut into by them, of all of them at once. */
  cuts?: readonly number[];
}

export interface BodyDigests {
  /** Hex. */
  md5: string;
  /** Hex; null where it was not wanted, as is the next. */
  sha256: string | null;
  /** Base64. */
  crc64: string | null;
  /** By part size: the MD5s of the parts in their order, hex. */
  cuts: Map<number, string[]>;
}

/**
 * Hashes a body of R2's, chunk by chunk as it comes, and holds nothing of it. One that breaks off, or is not `length` bytes
 * long, is `store-unavailable`.
 */
export async function digestBody(
  body: ReadableStream<Uint8Array>,
  length: number,
  { sha256 = false, crc64 = false, cuts = [] }: WantedDigests = {},
): Promise<Result<BodyDigests>> {
  const md5 = new Digest("MD5");
  const sha = sha256 ? new Digest("SHA-256") : null;
  const crc = crc64 ? new Digest("crc64nvme") : null;
  const parts = new Map(cuts.map((bytes) => [bytes, new PartDigests(bytes)]));
  const all = [md5, sha, crc, ...parts.values()].filter((digest) => digest !== null);
  const broke = (reason: string) => fail(failure("store-unavailable", `What was read back broke off: ${reason}.`));
  let read = 0;
  const reader = body.getReader();
  try {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      read += chunk.value.length;
      for (const digest of all) await digest.write(chunk.value);
    }
  } catch (error) {
    return broke(error instanceof Error ? error.message : String(error));
  }
  if (read !== length) return broke(`${read} of ${length} announced bytes came`);
  for (const digest of all) await digest.close();
  return ok({
    md5: (await md5.bytes).toHex(),
    sha256: sha === null ? null : (await sha.bytes).toHex(),
    crc64: crc === null ? null : (await crc.bytes).toBase64(),
    cuts: new Map(await Promise.all([...parts].map(async ([bytes, some]) => [bytes, await some.md5s] as const))),
  });
}

/** The MD5s of the parts that bytes are cut into. Nothing is one part of no bytes. */
class PartDigests {
  readonly #partBytes: number;
  readonly #done: Promise<Uint8Array>[] = [];
  #part = new Digest("MD5");
  /** Bytes that this part may still take. */
  #room: number;

  constructor(partBytes: number) {
    this.#partBytes = partBytes;
    this.#room = partBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let from = 0; from < chunk.length;) {
      if (this.#room === 0) {
        await this.close();
        this.#part = new Digest("MD5");
        this.#room = this.#partBytes;
      }
      const some = chunk.subarray(from, from + this.#room);
      await this.#part.write(some);
      from += some.length;
      this.#room -= some.length;
    }
  }

  async close(): Promise<void> {
    await this.#part.close();
    this.#done.push(this.#part.bytes);
  }

  get md5s(): Promise<string[]> {
    return Promise.all(this.#done).then((all) => all.map((bytes) => bytes.toHex()));
  }
}
