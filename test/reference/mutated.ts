import fc from "fast-check";

/** What the grammars of HTTP and of URLs are made of, what only looks like it, and what has no place in them. */
const BYTES = [
  ..."0123456789-=,;:/%?#&@+ .*\"'\\\tWwabBdetksnyGMTx~_",
  ...["\0", "\x7f", "\x80", "\xa0", "\xe9", "\xff", "\r\n", "%2F", "%2e", "%00", "%c0%ae", "//", "..", "\u0130", "😀"],
];

/** One of the usual texts nine times out of ten, so that a case made of several is not refused for the first of them. */
export const mostly = <T>(usual: readonly T[], odd: readonly T[]): fc.Arbitrary<T> =>
  fc.oneof({ arbitrary: fc.constantFrom(...usual), weight: 9 }, { arbitrary: fc.constantFrom(...odd), weight: 1 });

/**
 * Texts of the grammar, some of them damaged in one to three places: something put in, taken out, put in the place of
 * something else, or said twice. The places wrap around, so that none is beyond the text.
 */
export function mutated(texts: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const edit = fc.tuple(fc.nat(0xffff), fc.nat(3), fc.constantFrom(...BYTES));
  const edits = fc.oneof(
    { arbitrary: fc.constant<[number, number, string][]>([]), weight: 1 },
    { arbitrary: fc.array(edit, { minLength: 1, maxLength: 3 }), weight: 1 },
  );
  return fc.tuple(texts, edits).map(([text, all]) => all.reduce(damage, text));
}

function damage(text: string, [place, what, inserted]: [number, number, string]): string {
  const at = place % (text.length + 1);
  const [before, after] = [text.slice(0, at), text.slice(at)];
  switch (what) {
    case 0:
      return before + inserted + after;
    case 1:
      return before + after.slice(1);
    case 2:
      return before + inserted + after.slice(1);
    default:
      return before + text.slice(Math.max(0, at - 9), at) + after;
  }
}
