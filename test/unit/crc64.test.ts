import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { combineCrc64, combineCrc64Parts, formatCrc64, parseCrc64 } from "../../workers/core/migration/crc64.ts";

/** CRC-64/NVME bit by bit, as the specification has it: slow, and plain to see through. */
function crc64(bytes: Uint8Array): bigint {
  const ones = 0xffff_ffff_ffff_ffffn;
  let crc = ones;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ 0x9a6c9329ac4bc9b5n : crc >> 1n;
  }
  return crc ^ ones;
}
const ofText = (text: string): bigint => crc64(new TextEncoder().encode(text));

describe("CRC-64/NVME", () => {
  it("as it is computed here is that of the NVM Express specification and of AWS's own tests", () => {
    expect(ofText("123456789")).toBe(0xae8b14860a799888n);
    expect(ofText("aaaaaaaaaa")).toBe(0x0c1a80036d65c555n);
    expect(formatCrc64(ofText("Hello, World!\n"))).toBe("SoXXbx67KpE=");
  });

  it("of two stretches is made from theirs", () => {
    expect(combineCrc64(0x7585d198a2d5b287n, 0xf436c0c0f28b290cn, 5)).toBe(0x215f4b83b86262f3n); // "test1", "test2"
    expect(combineCrc64(ofText("1234"), ofText("56789"), 5)).toBe(0xae8b14860a799888n);
  });

  it("does not change with nothing before or after", () => {
    expect(combineCrc64(ofText("x"), ofText(""), 0)).toBe(ofText("x"));
    expect(combineCrc64(ofText(""), ofText("x"), 1)).toBe(ofText("x"));
    expect(combineCrc64Parts([])).toBe(ofText(""));
  });

  it("of any bytes, cut anywhere, is made from its pieces' in any grouping", () => {
    const cut = fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), fc.uint8Array());
    fc.assert(
      fc.property(cut, ([a, b, c]) => {
        const whole = crc64(Uint8Array.from([...a, ...b, ...c]));
        const [left, right] = [combineCrc64(crc64(a), crc64(b), b.length), combineCrc64(crc64(b), crc64(c), c.length)];
        expect(combineCrc64(left, crc64(c), c.length)).toBe(whole);
        expect(combineCrc64(crc64(a), right, b.length + c.length)).toBe(whole);
        expect(combineCrc64Parts([a, b, c].map((piece) => ({ crc: crc64(piece), length: piece.length })))).toBe(whole);
      }),
    );
  });

  it("tells a piece that is missing, is another, or stands elsewhere", () => {
    const [a, b] = [
      { crc: ofText("left"), length: 4 },
      { crc: ofText("right"), length: 5 },
    ];
    const whole = ofText("leftright");
    expect(combineCrc64Parts([a, b])).toBe(whole);
    for (const wrong of [[b, a], [a], [b], [a, b, b], [a, { ...b, crc: ofText("rigth") }], [a, { ...b, length: 6 }]]) {
      expect(combineCrc64Parts(wrong)).not.toBe(whole);
    }
  });

  it("shifts by terabytes as by bytes: in two steps as in one", () => {
    const crc = ofText("far");
    const lengths = fc.integer({ min: 0, max: 5_000_000_000_000 });
    fc.assert(
      fc.property(lengths, lengths, (m, n) => {
        expect(combineCrc64(combineCrc64(crc, 0n, m), 0n, n)).toBe(combineCrc64(crc, 0n, m + n));
      }),
      { numRuns: 30 },
    );
  });

  it("of ten thousand parts is that of their halves", () => {
    const parts = Array.from({ length: 10_000 }, (_, n) => ({
      crc: BigInt(n),
      length: n === 9999 ? 7 : 64 * 1024 ** 2,
    }));
    const [first, second] = [parts.slice(0, 5000), parts.slice(5000)];
    const length = second.reduce((sum, part) => sum + part.length, 0);
    const ofHalves = combineCrc64(combineCrc64Parts(first), combineCrc64Parts(second), length);
    expect(combineCrc64Parts(parts)).toBe(ofHalves);
  });

  it("is said by S3 as the base64 of eight bytes, the highest first, and nothing else is read", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }), (crc) => {
        expect(formatCrc64(crc)).toBe(Buffer.from(crc.toString(16).padStart(16, "0"), "hex").toString("base64"));
        expect(parseCrc64(formatCrc64(crc))).toBe(crc);
      }),
    );
    for (const text of [
      "",
      "rosUhgp5mIg",
      "rosUhgp5mIg=-2",
      "rosUhgp5mIg=\n",
      "AAAA",
      "rosUhgp5mIgA",
      "ros-hgp5_Ig=",
    ]) {
      expect(parseCrc64(text), text).toBeNull();
    }
    expect(parseCrc64("rosUhgp5mIg=")).toBe(0xae8b14860a799888n);
  });
});
