import { MEMORY_BLOCK_MAX_BYTES } from "../../core/limits.ts";
import type { Reader } from "./reader.ts";

/**
 * A body of these bytes, one after the other. A large one is counted as held until its client has taken it, or has gone:
 * slow clients must not fill the isolate's memory.
 */
export function bodyOf(reader: Reader, parts: readonly Uint8Array[]): BodyInit {
  const [first, ...others] = parts;
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (first !== undefined && others.length === 0 && length <= MEMORY_BLOCK_MAX_BYTES) return first;
  if (length <= MEMORY_BLOCK_MAX_BYTES) return concat(parts, length);
  const { readable, writable } = new FixedLengthStream(length);
  reader.waitUntil(send(writable, parts).finally(reader.isolate.budget.hold(length, reader.now)));
  return readable;
}

async function send(writable: WritableStream, parts: readonly Uint8Array[]): Promise<void> {
  const writer = writable.getWriter();
  try {
    for (const part of parts) await writer.write(part);
    await writer.close();
  } catch {
    // The client has gone.
  }
}

function concat(parts: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
