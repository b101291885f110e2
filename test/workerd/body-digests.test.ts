import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { digestBody } from "../../workers/adapters/body-digests.ts";
import { crc64Of, md5Of, sha256Of } from "../../workers/adapters/digest.ts";
import { must } from "./harness/run.ts";
import { bytesOf, text } from "./harness/source.ts";

/** The bytes in chunks that end at these places; it breaks after them where `breaks`. */
function bodyOf(bytes: Uint8Array, ends: readonly number[] = [], breaks = false): ReadableStream<Uint8Array> {
  const places = [...new Set([...ends, bytes.length])].filter((end) => end <= bytes.length).toSorted((a, b) => a - b);
  return new ReadableStream<Uint8Array>({
    start(controller) {
      for (const [i, end] of places.entries()) controller.enqueue(bytes.subarray(places[i - 1] ?? 0, end));
      if (breaks) controller.error(new Error("Network connection lost."));
      else controller.close();
    },
  });
}

describe("a body that is read back", () => {
  it("has the hashes of its bytes, whole and in parts of each size, however it comes in chunks", async () => {
    const sizes = fc.integer({ min: 1, max: 900 });
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1000),
        fc.array(fc.nat(1000)),
        fc.uniqueArray(sizes, { maxLength: 3 }),
        async (size, ends, cuts) => {
          const bytes = bytesOf(size, size);
          const digests = must(await digestBody(bodyOf(bytes, ends), size, { sha256: true, crc64: true, cuts }));
          expect(digests).toMatchObject({
            md5: await md5Of(bytes),
            sha256: await sha256Of(bytes),
            crc64: await crc64Of(bytes),
          });
          expect([...digests.cuts.keys()]).toEqual(cuts);
          for (const cut of cuts) {
            // Nothing is one part of no bytes.
            const starts = Array.from({ length: Math.max(1, Math.ceil(size / cut)) }, (_, i) => i * cut);
            const parts = await Promise.all(starts.map((start) => md5Of(bytes.subarray(start, start + cut))));
            expect(digests.cuts.get(cut), `${size} bytes cut by ${cut}`).toEqual(parts);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("has no hash that was not asked for but its MD5", async () => {
    const digests = must(await digestBody(bodyOf(text("abc")), 3));
    expect(digests).toEqual({ md5: await md5Of(text("abc")), sha256: null, crc64: null, cuts: new Map() });
  });

  it.each([
    ["breaks off", bodyOf(text("abc"), [], true), 3],
    ["is shorter than was announced", bodyOf(text("abc")), 4],
    ["is longer", bodyOf(text("abc")), 2],
  ])("that %s is R2's trouble, and has none", async (_what, body, length) => {
    const read = await digestBody(body, length, { cuts: [2] });
    expect(read).toMatchObject({ ok: false, failure: { code: "store-unavailable" } });
  });
});
