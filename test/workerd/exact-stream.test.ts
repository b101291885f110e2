import { describe, expect, it } from "vitest";
import { crc64Of, md5Of, sha256Of } from "../../workers/adapters/digest.ts";
import { exactStream } from "../../workers/adapters/exact-stream.ts";
import { bytesOf } from "./harness/source.ts";

const SIZE = 300_000;
const bytes = bytesOf(SIZE, 5);

/** A body in chunks, which ends after them or errors. */
const bodyOf = (chunks: readonly Uint8Array[], breaks = false): ReadableStream<Uint8Array> => {
  const left = [...chunks];
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      const chunk = left.shift();
      if (chunk !== undefined) controller.enqueue(Uint8Array.from(chunk));
      else if (breaks) controller.error(new Error("cable cut."));
      else controller.close();
    },
  });
};
const inChunks = (of: Uint8Array, size = 65_536): Uint8Array[] =>
  Array.from({ length: Math.ceil(of.length / size) }, (_, n) => of.subarray(n * size, (n + 1) * size));

/** Takes what comes, to its end or to where it breaks. */
async function taken(readable: ReadableStream<Uint8Array>): Promise<{ bytes: number; isWhole: boolean }> {
  let count = 0;
  try {
    for await (const chunk of readable) count += chunk.length;
    return { bytes: count, isWhole: true };
  } catch {
    return { bytes: count, isWhole: false };
  }
}

describe("a body that is passed on", () => {
  it("tells its MD5 and its CRC-64/NVME where they are asked for, and null where not", async () => {
    const both = exactStream(bodyOf(inChunks(bytes)), SIZE, { md5: true, crc64: true });
    expect(await taken(both.readable)).toEqual({ bytes: SIZE, isWhole: true });
    expect([await both.md5, await both.crc64]).toEqual([await md5Of(bytes), await crc64Of(bytes)]);
    expect(await both.broken).toBeNull();
    const none = exactStream(bodyOf(inChunks(bytes)), SIZE);
    await taken(none.readable);
    expect([await none.md5, await none.crc64, await none.broken]).toEqual([null, null, null]);
  });

  it.each<[string, Uint8Array[], boolean, string]>([
    ["breaks off", inChunks(bytes).slice(0, 2), true, "The body broke off: cable cut."],
    ["is shorter", inChunks(bytes).slice(0, 2), false, "The body broke off: 131072 of 300000 announced bytes came."],
    ["is longer", [...inChunks(bytes), bytes], false, "The body broke off: more than the announced 300000 bytes came."],
  ])("and %s errors, and has no hash", async (_what, chunks, breaks, detail) => {
    const { readable, broken, md5, crc64 } = exactStream(bodyOf(chunks, breaks), SIZE, { md5: true, crc64: true });
    expect((await taken(readable)).isWhole).toBe(false);
    expect(await broken).toMatchObject({ code: "source-truncated", detail });
    expect([await md5, await crc64]).toEqual([null, null]);
  });

  it("is nobody's fault where the receiver takes no more", async () => {
    const { readable, broken, md5 } = exactStream(bodyOf(inChunks(bytes)), SIZE, { md5: true });
    await readable.cancel();
    expect([await broken, await md5]).toEqual([null, null]);
  });
});

describe("a body of which a checksum is expected", () => {
  const expectations = async (of: Uint8Array) =>
    [{ sha256: await sha256Of(of) }, { crc64nvme: await crc64Of(of) }] as const;

  it.each([
    ["many chunks", 65_536],
    ["one chunk", SIZE],
  ])("comes whole where it has it, in %s", async (_what, size) => {
    for (const expected of await expectations(bytes)) {
      const { readable, broken, md5 } = exactStream(bodyOf(inChunks(bytes, size)), SIZE, { md5: true, expected });
      expect(await taken(readable)).toEqual({ bytes: SIZE, isWhole: true });
      expect([await broken, await md5]).toEqual([null, await md5Of(bytes)]);
    }
  });

  it.each([
    ["the first byte", 0],
    ["the last byte", SIZE - 1],
  ])("never comes whole where %s is another", async (_what, at) => {
    const wrong = bytes.with(at, (bytes[at] ?? 0) ^ 1);
    for (const expected of await expectations(bytes)) {
      const { readable, broken } = exactStream(bodyOf(inChunks(wrong)), SIZE, { expected });
      const got = await taken(readable);
      expect(got.isWhole).toBe(false);
      expect(got.bytes).toBeLessThan(SIZE);
      expect(await broken).toMatchObject({ code: "checksum-mismatch" });
    }
  });

  it("may be empty, and empty chunks change nothing", async () => {
    const empty = new Uint8Array();
    for (const expected of await expectations(empty)) {
      const right = exactStream(bodyOf([]), 0, { expected });
      expect([await taken(right.readable), await right.broken]).toEqual([{ bytes: 0, isWhole: true }, null]);
    }
    for (const expected of await expectations(bytes)) {
      const wrong = exactStream(bodyOf([]), 0, { expected });
      await taken(wrong.readable);
      expect(await wrong.broken).toMatchObject({ code: "checksum-mismatch" });
    }
  });
});
