import { deepStrictEqual } from "node:assert";
import fc from "fast-check";
import { test } from "vitest";
import { formatContentRange, parseRange, resolveRange } from "../../workers/core/http/range.ts";
import { mutated } from "../reference/mutated.ts";
import { type AskedRange, referenceRange, referenceSpan } from "../reference/range.ts";
import { count, PATIENCE, RUNS } from "./fuzz-runs.ts";

/** Around what an object holds, around what a double counts exactly, and of any length. */
const position = fc.oneof(
  { arbitrary: fc.nat(40).map(String), weight: 4 },
  { arbitrary: fc.string({ unit: fc.constantFrom(..."0123456789"), maxLength: 24 }), weight: 2 },
  { arbitrary: fc.constantFrom("", "00", "9007199254740991", "9007199254740992", "9007199254740993"), weight: 1 },
);
const member = fc.tuple(position, position).map(([first, last]) => `${first}-${last}`);
const set = fc.oneof(
  { arbitrary: member, weight: 4 },
  { arbitrary: fc.tuple(member, member).map((members) => members.join(" ,\t")), weight: 1 },
  { arbitrary: member.map((only) => `, ${only} ,`), weight: 1 },
);
const field = mutated(
  fc
    .tuple(fc.constantFrom("bytes=", "Bytes=", "bytes= ", " bytes=", "items=", "bytes "), set)
    .map((parts) => parts.join("")),
);

/** The reference's reading in our words: what lies beyond 2^53 - 1 is as good as there. */
function inOurWords(asked: AskedRange | null) {
  const near = (exact: bigint) => Number(exact > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : exact);
  if (asked === null) return null;
  if ("suffix" in asked) return { kind: "suffix", length: near(asked.suffix) };
  if (asked.last === null) return { kind: "from", start: near(asked.first) };
  return { kind: "bounded", start: near(asked.first), end: near(asked.last) };
}

test(`${count(RUNS.rangeFields)} Range fields ask for what the reference reads in them`, { timeout: PATIENCE }, () => {
  fc.assert(
    fc.property(field, (text) => deepStrictEqual(parseRange(text), inOurWords(referenceRange(text)))),
    { numRuns: RUNS.rangeFields },
  );
});

test(`${count(RUNS.spans)} ranges bring the bytes that the reference names`, { timeout: PATIENCE }, () => {
  const TiB = 1024 ** 4;
  const size = fc.oneof(fc.nat(40), fc.constantFrom(0, 1, 5 * TiB, Number.MAX_SAFE_INTEGER));
  fc.assert(
    fc.property(member, size, (text, bytes) => {
      const header = `bytes=${text}`;
      const asked = referenceRange(header);
      const range = parseRange(header);
      const expected = asked === null ? null : referenceSpan(asked, BigInt(bytes));
      const span = range === null ? null : resolveRange(range, bytes);
      const named =
        span === null || span === "unsatisfiable" ? null : formatContentRange(span.offset, span.length, bytes);
      deepStrictEqual(named, expected === null ? null : `bytes ${expected.first}-${expected.last}/${bytes}`);
      deepStrictEqual(span === "unsatisfiable", asked !== null && expected === null);
    }),
    { numRuns: RUNS.spans },
  );
});
