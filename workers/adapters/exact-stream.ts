import { type Failure, failure } from "../core/failure.ts";
import { WatchedReader } from "./watched-reader.ts";

export interface ExactStreamOptions {
  /** Compute the MD5, for `md5`. */
  md5?: boolean;
  /** Compute the CRC-64/NVME, for `crc64`. */
  crc64?: boolean;
  /** What the bytes must have: a body of others breaks before its last ones are passed on. */
  expected?: Expected | undefined;
}

/** A SHA-256 in hex, or a CRC-64/NVME in base64. */
export type Expected = { sha256: string } | { crc64nvme: string };

export interface ExactStream {
  /** Yields exactly the announced length, or errors; its length is known, as `R2.put` needs. */
  readable: ReadableStream<Uint8Array>;
  /**
   * Settles when the body has ended or the readable was cancelled: what was wrong with the body (`source-truncated`,
   * `checksum-mismatch`), or null where it was whole or nobody wanted the rest. Never rejects.
   */
  broken: Promise<Failure | null>;
  /** Hex MD5 of the body, once it has been taken whole; null where it was not, or the hash was not asked for. */
  md5: Promise<string | null>;
  /** Its CRC-64/NVME in base64, likewise. */
  crc64: Promise<string | null>;
}

/**
 * Passes a body on that was announced with `length` bytes, hashing it chunk by chunk on the way (`tee()` would hold
 * it in memory). It tells a body that broke off from a receiver that stopped taking it: the one is the source's
 * fault, the other the store's.
 */
export function exactStream(
  body: ReadableStream<Uint8Array>,
  length: number,
  options: ExactStreamOptions = {},
): ExactStream {
  const fixed = new FixedLengthStream(length);
  const md5 = options.md5 === true ? new Digest("MD5") : null;
  const crc64 = options.crc64 === true ? new Digest("crc64nvme") : null;
  const told = [md5, crc64].filter((digest) => digest !== null);
  const guard = options.expected === undefined ? null : new Guard(options.expected);
  const pumped = pump(body, fixed.writable, length, told, guard);
  const tell = async (digest: Digest | null, say: (bytes: Uint8Array) => string) =>
    (await pumped) === "whole" && digest !== null ? say(await digest.bytes) : null;
  return {
    readable: fixed.readable,
    broken: pumped.then((end) => (typeof end === "string" ? null : end)),
    md5: tell(md5, (bytes) => bytes.toHex()),
    crc64: tell(crc64, (bytes) => bytes.toBase64()),
  };
}

/** A hash of what is written to it. */
export class Digest {
  readonly #stream: DigestStream;
  readonly #writer: WritableStreamDefaultWriter<ArrayBuffer | ArrayBufferView>;

  constructor(algorithm: string) {
    this.#stream = new crypto.DigestStream(algorithm);
    this.#writer = this.#stream.getWriter();
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#writer.write(chunk);
  }

  close(): Promise<void> {
    return this.#writer.close();
  }

  get bytes(): Promise<Uint8Array> {
    return this.#stream.digest.then((buffer) => new Uint8Array(buffer));
  }
}

/** Tells whether all that was written to it is what is expected. */
class Guard extends Digest {
  readonly #expected: string;
  readonly #say: (bytes: Uint8Array) => string;

  constructor(expected: Expected) {
    const isSha256 = "sha256" in expected;
    super(isSha256 ? "SHA-256" : "crc64nvme");
    this.#expected = isSha256 ? expected.sha256 : expected.crc64nvme;
    this.#say = (bytes) => (isSha256 ? bytes.toHex() : bytes.toBase64());
  }

  /** Ends it: it takes no more. */
  async isRight(): Promise<boolean> {
    await this.close();
    return this.#say(await this.bytes) === this.#expected;
  }
}

/** How it ended: with all bytes passed on, with a receiver that took no more, or with a broken body. */
async function pump(
  body: ReadableStream<Uint8Array>,
  into: WritableStream,
  length: number,
  digests: readonly Digest[],
  guard: Guard | null,
): Promise<"whole" | "refused" | Failure> {
  const reader = new WatchedReader(body, length);
  try {
    return await pumpFrom(reader, into, length, digests, guard);
  } finally {
    reader.end();
  }
}

async function pumpFrom(
  reader: WatchedReader,
  into: WritableStream,
  length: number,
  digests: readonly Digest[],
  guard: Guard | null,
): Promise<"whole" | "refused" | Failure> {
  const writer = into.getWriter();
  let sent = 0;
  const refuse = async (problem: Failure): Promise<Failure> => {
    await writer.abort(new Error(problem.detail)).catch(() => undefined);
    await reader.cancel();
    return problem;
  };
  const broke = (reason: string) =>
    refuse(failure("source-truncated", `The body broke off: ${reason.replace(/\.$/, "")}.`));
  for (;;) {
    let chunk: Uint8Array | null;
    try {
      chunk = await reader.read();
    } catch (error) {
      return broke(error instanceof Error ? error.message : String(error));
    }
    if (chunk === null) break;
    if (chunk.length === 0) continue;
    sent += chunk.length;
    if (sent > length) return broke(`more than the announced ${length} bytes came`);
    try {
      for (const digest of digests) await digest.write(chunk);
      await guard?.write(chunk);
      if (sent === length && (await guard?.isRight()) === false) return await refuse(wrongChecksum());
      await writer.write(chunk);
    } catch {
      await reader.cancel();
      return "refused";
    }
  }
  if (sent < length) return broke(`${sent} of ${length} announced bytes came`);
  if (length === 0 && (await guard?.isRight()) === false) return refuse(wrongChecksum());
  for (const digest of digests) await digest.close();
  await writer.close().catch(() => undefined);
  return "whole";
}

/** A body of other bytes than the source vouches for. */
export const wrongChecksum = (): Failure =>
  failure("checksum-mismatch", "The bytes have another checksum than the source says.");
