/**
 * A plain reference for our globs, to compare ours with: braces are written out as text, and the rest is tried by
 * backtracking, character by character. Takes globs that are right, and as long as it takes.
 */
export const referenceGlob = (glob: string, key: string): boolean =>
  writtenOut(glob.replaceAll(/\\(.)/gsu, (pair, char) => (char === "/" ? "/" : pair))).some((alternative) =>
    isMatch(Array.from(alternative), Array.from(key), true),
  );

/** Replaces the first braces by each of their alternatives, and so on. */
function writtenOut(glob: string): string[] {
  const chars = Array.from(glob);
  const open = positions(chars).find((at) => chars[at] === "{");
  if (open === undefined) return [glob];
  const cuts = [open];
  let depth = 0;
  for (const at of positions(chars).filter((place) => place > open)) {
    if (chars[at] === "{") depth++;
    if (chars[at] === "," && depth === 0) cuts.push(at);
    if (chars[at] === "}" && depth-- === 0) {
      cuts.push(at);
      break;
    }
  }
  const before = chars.slice(0, open).join("");
  const after = chars.slice((cuts.at(-1) ?? 0) + 1).join("");
  return cuts.slice(1).flatMap((cut, i) => writtenOut(before + chars.slice((cuts[i] ?? 0) + 1, cut).join("") + after));
}

/** Where the glob's characters are neither escaped nor in brackets. */
function positions(chars: readonly string[]): number[] {
  const places: number[] = [];
  for (let at = 0; at < chars.length; at++) {
    places.push(at);
    if (chars[at] === "\\") at++;
    else if (chars[at] === "[") at = closing(chars, at);
  }
  return places;
}

function closing(chars: readonly string[], open: number): number {
  let at = open + 1;
  while (chars[at] !== "]") at += chars[at] === "\\" ? 2 : 1;
  return at;
}

function isMatch(glob: readonly string[], key: readonly string[], isSegmentStart: boolean): boolean {
  const [first, second] = glob;
  if (first === undefined) return key.length === 0;
  if (first === "*" && second === "*") {
    const stars = glob.findIndex((char) => char !== "*");
    const rest = stars < 0 ? [] : glob.slice(stars);
    if (isSegmentStart && rest[0] === "/" && isMatch(rest.slice(1), key, true)) return true;
    return tails(key, key.length).some((tail) => isMatch(rest, tail, false));
  }
  if (first === "*") {
    const slash = key.indexOf("/");
    return tails(key, slash < 0 ? key.length : slash).some((tail) => isMatch(glob.slice(1), tail, false));
  }
  const [char, ...tail] = key;
  if (char === undefined) return false;
  if (first === "?") return char !== "/" && isMatch(glob.slice(1), tail, false);
  if (first === "[") {
    const end = closing(glob, 0);
    return char !== "/" && isInClass(glob.slice(1, end), char) && isMatch(glob.slice(end + 1), tail, false);
  }
  const literal = first === "\\" ? second : first;
  return char === literal && isMatch(glob.slice(first === "\\" ? 2 : 1), tail, literal === "/");
}

/** What is left of the key after none, one, two ... and `most` of its characters. */
const tails = (key: readonly string[], most: number): string[][] =>
  Array.from({ length: most + 1 }, (_, count) => key.slice(count));

function isInClass(inside: readonly string[], char: string): boolean {
  const [sign] = inside;
  const members = (sign === "!" ? inside.slice(1) : inside).join("").replaceAll(/\\(.)/gu, "$1");
  const point = char.codePointAt(0) ?? 0;
  const isMember = [...members.matchAll(/(.)-(.)|(.)/gsu)].some(([, low, high, one]) => {
    if (one !== undefined) return one === char;
    return (low?.codePointAt(0) ?? 0) <= point && point <= (high?.codePointAt(0) ?? 0);
  });
  return isMember !== (sign === "!");
}
