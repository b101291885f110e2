import { describe, expect, it } from "vitest";
import { GzipDamaged, GzipInPieces, gunzip } from "../../workers/adapters/record-gunzip.ts";
import { gzipped, joined } from "./harness/gzip.ts";

/** The bytes in pieces of this length; counts how often they are read from their start. */
function opened(bytes: Uint8Array, piece = 1000) {
  const seen = { opens: 0, returned: 0 };
  const open = async () => {
    seen.opens++;
    return (async function* () {
      try {
        for (let at = 0; at < bytes.length; at += piece) yield bytes.slice(at, at + piece);
      } finally {
        seen.returned++;
      }
    })();
  };
  return { open, seen };
}

async function inflate(bytes: Uint8Array, piece?: number) {
  const { open, seen } = opened(bytes, piece);
  const chunks: Uint8Array[] = [];
  let error: unknown = null;
  try {
    for await (const chunk of gunzip(open)) chunks.push(chunk);
  } catch (thrown) {
    error = thrown;
  }
  return { text: new TextDecoder().decode(joined(chunks)), error, ...seen };
}

const TEXT = Array.from({ length: 3000 }, (_, i) => `{"id":${i * 7919}}\n`).join("");

describe("gunzip", () => {
  it.each([1, 7, 1000, 100_000])("inflates one member, in pieces of %i bytes", async (piece) => {
    const { text, error, opens } = await inflate(await gzipped(TEXT), piece);
    expect([error, opens]).toEqual([null, 1]);
    expect(text).toBe(TEXT);
  });

  it.each([1, 9, 10, 11, 1000, 100_000])("inflates several members, in pieces of %i bytes", async (piece) => {
    const parts = ["a", "", TEXT, "b", "", TEXT];
    const members = await Promise.all(parts.map((part) => gzipped(part)));
    const { text, error, opens } = await inflate(joined(members), piece);
    expect([error, opens]).toEqual([null, 1]);
    expect(text).toBe(parts.join(""));
  });

  it("does not take data that looks like a header for one, in whatever member", async () => {
    // Stored without compression (RFC 1951, section 3.2.4), so that the header of a member stands in the data as it is.
    const inner = joined([new TextEncoder().encode("before "), await gzipped("x"), new TextEncoder().encode(" after")]);
    const bytes = joined([await gzipped("first "), await storedGzip(inner), await gzipped(" last")]);
    const { open, seen } = opened(bytes);
    const chunks: Uint8Array[] = [];
    for await (const chunk of gunzip(open)) chunks.push(chunk);
    const expected = joined([new TextEncoder().encode("first "), inner, new TextEncoder().encode(" last")]);
    expect(joined(chunks)).toEqual(expected);
    expect(seen).toEqual({ opens: 2, returned: 2 });
  });

  it("gives up where headers that are none go on for ever", async () => {
    const header = (await gzipped("x")).slice(0, 10);
    const { error, opens } = await inflate(await storedGzip(joined(Array.from({ length: 50 }, () => header))));
    expect(error).toBeInstanceOf(GzipDamaged);
    expect(opens).toBe(9);
  });

  it("of what is cut short anywhere is an error, and no end", async () => {
    const bytes = joined([await gzipped("a"), await gzipped("b".repeat(100))]);
    const first = (await gzipped("a")).length;
    for (let length = 0; length < bytes.length; length++) {
      const { error } = await inflate(bytes.slice(0, length));
      expect([length, error instanceof GzipDamaged]).toEqual([length, length !== first]);
    }
  });

  it("of what is changed, or followed by something else, is an error", async () => {
    const bytes = await gzipped(TEXT);
    const changed = bytes.slice();
    changed[bytes.length - 6] = (changed[bytes.length - 6] ?? 0) ^ 1; // the checksum
    for (const damaged of [changed, joined([bytes, Uint8Array.of(1, 2, 3)]), new TextEncoder().encode("plain")]) {
      expect((await inflate(damaged)).error).toBeInstanceOf(GzipDamaged);
    }
  });

  it.each<[string, () => Promise<Uint8Array>]>([
    ["nothing", () => gzipped("")],
    ["nothing, as Go writes it", () => storedGzip(new Uint8Array(0))],
    ...[1, 255, 256, 65_536, 17_000_000].map((length): [string, () => Promise<Uint8Array>] => [
      `${length} bytes`,
      () => gzipped("x".repeat(length)),
    ]),
  ])("ignores zeros behind the last member, be it of %s, and none of its own", async (_, make) => {
    const bytes = joined([await gzipped("first "), await make()]);
    const { text } = await inflate(bytes, 65_536);
    for (const zeros of [1, 2, 3, 4, 8, 9, 10, 512, 100_000]) {
      const padded = await inflate(joined([bytes, new Uint8Array(zeros)]), 65_536);
      expect([zeros, padded.error, padded.opens, padded.text === text]).toEqual([zeros, null, 1, true]);
    }
    const cut = await inflate(
      joined([
        bytes.slice(
          0,
          bytes.findLastIndex((byte) => byte !== 0),
        ),
        new Uint8Array(512),
      ]),
    );
    expect(cut.error).toBeInstanceOf(GzipDamaged);
  });

  it("takes zeros for nothing else than padding behind the last member", async () => {
    const [one, zeros] = [await gzipped(TEXT), new Uint8Array(512)];
    for (const damaged of [joined([one, zeros, one]), joined([one, zeros, Uint8Array.of(1)])]) {
      expect((await inflate(damaged)).error).toBeInstanceOf(GzipDamaged);
    }
    const data = joined([new TextEncoder().encode("a"), new Uint8Array(60_000), new TextEncoder().encode("b")]);
    for (const piece of [100, 65_536]) {
      const { text, error } = await inflate(await storedGzip(data), piece);
      expect([error, text === new TextDecoder().decode(data)]).toEqual([null, true]);
    }
  });

  it("inflates members as bgzip makes them, however many and however well they compress", async () => {
    const block = await gzipped("x".repeat(65_280));
    const { open, seen } = opened(repeated(block, 2500), 65_536);
    let length = 0;
    for await (const chunk of gunzip(open)) length += chunk.length;
    expect([length, seen.opens]).toEqual([2500 * 65_280, 1]);
  });

  it("inflates two thousand members, however small, and no more", async () => {
    const member = await gzipped("1\n");
    expect(await inflate(repeated(member, 2000), 65_536)).toMatchObject({ error: null, text: "1\n".repeat(2000) });
    const { error, text } = await inflate(repeated(member, 2001), 65_536);
    expect(error).toBeInstanceOf(GzipInPieces);
    expect(text).toBe("1\n".repeat(2000));
  });

  it("counts no member that only looks like one", async () => {
    const member = await gzipped("1\n");
    const { error, opens } = await inflate(joined([repeated(member, 1999), await storedGzip(member)]), 65_536);
    expect([error, opens]).toEqual([null, 2]);
  });

  it("takes no more than is wanted of what inflates to a thousand times its size, and gives the rest up", async () => {
    const { open, seen } = opened(await gzipped("\n".repeat(64_000_000)), 4096);
    let length = 0;
    for await (const chunk of gunzip(open)) {
      length += chunk.length;
      if (length > 100_000) break;
    }
    expect(length).toBeLessThan(500_000);
    expect(seen).toEqual({ opens: 1, returned: 1 });
  });
});

const repeated = (bytes: Uint8Array, times: number) => joined(Array.from({ length: times }, () => bytes));

async function storedGzip(data: Uint8Array): Promise<Uint8Array> {
  const whole = await gzipped(data);
  const header = whole.slice(0, 10);
  const trailer = whole.slice(-8); // CRC-32 and length are those of the data, however it is compressed
  const length = [data.length & 0xff, data.length >> 8];
  return joined([header, Uint8Array.of(1, ...length, ...length.map((byte) => byte ^ 0xff)), data, trailer]);
}
