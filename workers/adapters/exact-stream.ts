export interface ExactStream {
  /** Yields exactly the announced length, or errors; its length is known, as `R2.put` needs. */
  readable: ReadableStream<Uint8Array>;
  /**
   * Settles when the body has ended or the readable was cancelled: what was wrong with the body, or null where it was
   * whole or nobody wanted the rest. Never rejects.
   */
  broken: Promise<string | null>;
  /** Hex MD5 of the body, if it was whole and `hash` was asked for. Never settles otherwise. */
  md5: Promise<string>;
}

/**
 * Passes a body on that was announced with `length` bytes, hashing it chunk by chunk on the way (`tee()` would hold
 * it in memory). It tells a body that broke off from a receiver that stopped taking it: the one is the source's
 * fault, the other the store's.
 */
export function exactStream(body: ReadableStream<Uint8Array>, length: number, hash: boolean): ExactStream {
  const fixed = new FixedLengthStream(length);
  const digest = hash ? new crypto.DigestStream("MD5") : null;
  const broken = pump(body, fixed.writable, length, digest);
  const md5 = broken.then(async (reason) =>
    digest !== null && reason === null
      ? new Uint8Array(await digest.digest).toHex()
      : new Promise<string>(() => undefined),
  );
  return { readable: fixed.readable, broken, md5 };
}

async function pump(
  body: ReadableStream<Uint8Array>,
  into: WritableStream,
  length: number,
  digest: DigestStream | null,
): Promise<string | null> {
  const reader = body.getReader();
  const writer = into.getWriter();
  const hasher = digest?.getWriter() ?? null;
  let sent = 0;
  const refuse = async (reason: string): Promise<string> => {
    await writer.abort(new Error(reason)).catch(() => undefined);
    await reader.cancel().catch(() => undefined);
    return reason;
  };
  for (;;) {
    let chunk: ReadableStreamReadResult<Uint8Array>;
    try {
      chunk = await reader.read();
    } catch (error) {
      return refuse(error instanceof Error ? error.message : String(error));
    }
    if (chunk.done) break;
    sent += chunk.value.length;
    if (sent > length) return refuse(`more than the announced ${length} bytes came`);
    try {
      await hasher?.write(chunk.value);
      await writer.write(chunk.value);
    } catch {
      await reader.cancel().catch(() => undefined);
      return null; // The receiver took no more.
    }
  }
  if (sent < length) return refuse(`${sent} of ${length} announced bytes came`);
  await hasher?.close();
  await writer.close().catch(() => undefined);
  return null;
}
