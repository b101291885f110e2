import { splitterOf } from "../core/records/index-builder.ts";
import { isGzip } from "../core/records/kind.ts";
import { type Kind, START } from "../core/records/record.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { openBytes, type RecordObject, troubleOf } from "./record-bytes.ts";

/** Bytes of an object, decompressed, in which its first records are looked for. */
const START_BYTES = 128 * 1024;

/**
 * The records at the beginning of an object, as many as there are whole in its first 128 KiB. One read from R2, pinned to
 * the ETag; another where it is compressed.
 *
 * @param kind how its name says that records are read
 * @param most records beyond these are not wanted
 * @returns JSON texts as they stand there, of which some may be broken; `object-changed` where it is at another ETag
 */
export async function firstRecords(
  object: Omit<RecordObject, "gzip"> & { size: number },
  kind: Kind,
  most: number,
): Promise<Result<string[]>> {
  if (object.size === 0) return ok([]);
  let start = await startOf({ ...object, gzip: false }, Math.min(object.size, START_BYTES));
  if (start.ok && isGzip(start.value)) start = await startOf({ ...object, gzip: true }, null);
  if (!start.ok) return start;
  const splitter = splitterOf(kind, START);
  // The last one may be cut off, and is no JSON then.
  const found = [...splitter.push(start.value), ...splitter.end()];
  const decoder = new TextDecoder();
  const whole = found.filter(({ problem }) => problem === null).slice(0, most);
  return ok(whole.map((each) => decoder.decode(each.bytes.subarray(each.start, each.end))));
}

async function startOf(object: RecordObject, until: number | null): Promise<Result<Uint8Array>> {
  const opened = await openBytes(object, 0, until);
  if (!opened.ok) return opened;
  const bytes = new Uint8Array(START_BYTES);
  let length = 0;
  try {
    for await (const chunk of opened.value.chunks) {
      const taken = chunk.subarray(0, START_BYTES - length);
      bytes.set(taken, length);
      length += taken.length;
      // To leave the loop gives up the rest.
      if (length === START_BYTES) break;
    }
  } catch (error) {
    return fail(troubleOf(error));
  }
  return ok(bytes.subarray(0, length));
}
