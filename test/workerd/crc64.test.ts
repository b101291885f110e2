import { describe, expect, it } from "vitest";
import { crc64Of } from "../../workers/adapters/digest.ts";
import { combineCrc64, combineCrc64Parts, formatCrc64, parseCrc64 } from "../../workers/core/migration/crc64.ts";
import { bytesOf, text } from "./harness/source.ts";

const crcOf = async (bytes: Uint8Array): Promise<bigint> => {
  const crc = parseCrc64(await crc64Of(bytes));
  if (crc === null) throw new Error("The runtime's CRC is not eight bytes in base64.");
  return crc;
};

describe("the runtime's CRC-64/NVME", () => {
  it("is the specification's, as S3 says it", async () => {
    expect(await crc64Of(text("123456789"))).toBe(formatCrc64(0xae8b14860a799888n));
    expect(await crc64Of(text(""))).toBe(formatCrc64(0n));
  });

  it("of a whole is made from those of its pieces, cut at random places, in whatever order they are combined", async () => {
    const whole = bytesOf(1_000_003, 64);
    const wanted = await crcOf(whole);
    for (let round = 0; round < 20; round++) {
      const cuts = Array.from({ length: 1 + (round % 7) }, () => Math.floor(Math.random() * (whole.length + 1)));
      const ends = [...cuts.toSorted((a, b) => a - b), whole.length];
      const pieces = await Promise.all(
        ends.map(async (end, n) => {
          const bytes = whole.subarray(ends[n - 1] ?? 0, end);
          return { crc: await crcOf(bytes), length: bytes.length };
        }),
      );
      expect(combineCrc64Parts(pieces), `cut at ${ends.join()}`).toBe(wanted);
      // Any two neighbours may be joined first.
      while (pieces.length > 1) {
        const at = Math.floor(Math.random() * (pieces.length - 1));
        const [a, b] = pieces.slice(at, at + 2);
        if (a === undefined || b === undefined) throw new Error("unreachable");
        pieces.splice(at, 2, { crc: combineCrc64(a.crc, b.crc, b.length), length: a.length + b.length });
      }
      expect(pieces[0], `cut at ${ends.join()}`).toEqual({ crc: wanted, length: whole.length });
    }
  });
});
