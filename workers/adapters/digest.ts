/** Hex MD5 of bytes. MD5 is no security here: it is what S3's and R2's ETags are made of. */
export async function md5Of(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("MD5", bytes)).toHex();
}

/**
 * Passes a body of known length on while its MD5 is computed chunk by chunk: `tee()` would hold it in memory.
 *
 * `readable` errors when the body is shorter or longer than `length`. `broken` is then the reason, else null; it
 * settles once the body has ended or the readable was cancelled. Neither promise rejects.
 */
export function md5Stream(
  body: ReadableStream<Uint8Array>,
  length: number,
): { readable: ReadableStream<Uint8Array>; md5: Promise<string>; broken: Promise<string | null> } {
  const digest = new crypto.DigestStream("MD5");
  const hash = digest.getWriter();
  const hashing = new TransformStream<Uint8Array, Uint8Array>({
    async transform(chunk, controller) {
      await hash.write(chunk);
      controller.enqueue(chunk);
    },
    async flush() {
      await hash.close();
    },
  });
  const fixed = new FixedLengthStream(length);
  const broken = body
    .pipeThrough(hashing)
    .pipeTo(fixed.writable)
    .then(
      () => null,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
  const md5 = digest.digest.then((value) => new Uint8Array(value).toHex());
  md5.catch(() => undefined);
  return { readable: fixed.readable, md5, broken };
}
