// Globs over object keys. Keys are no paths: ".", ".." and empty segments, newlines and a leading dot are characters like
// any other, and a key is matched as it is spelt, by code points, without normalisation and case-sensitive.
//
//     *        any characters but "/", also none      ?        one character but "/"
//     **       any characters, also none              [a-z]    one of these; [!a-z] none of these; never "/"
//     a/**/z   also "a/z": a whole segment "**" may   {a,b}    either of these; they may be nested
//              be missing with the slash behind it    \*       the character itself
//
// All globs of a list run as one automaton, whose set of states is walked once over the key, 32 states at a time: time is
// bounded by the key's length times the list's, whatever is asked.
import { type Failure, failure } from "../failure.ts";
import { fail, ok, type Result } from "../result.ts";

export const GLOBS_MAX = 100;
export const GLOB_MAX_CHARS = 1024;
/** Texts that the braces of one glob may stand for. */
const ALTERNATIVES_MAX = 256;
/**
 * Characters of a whole list, braces written out, and one for each text: what is walked for each character of a key. At the
 * worst a key of 1,024 characters then takes a few milliseconds, and the pages of one consumer half a minute of its five.
 */
const LIST_MAX_CHARS = 4096;

type Token =
  | { kind: "point"; point: number }
  | { kind: "class"; negated: boolean; ranges: readonly (readonly [number, number])[] }
  | { kind: "one" | "star" | "globstar" | "end" }
  /** Before a globstar and its slash: goes on with them, or behind them. */
  | { kind: "folders" };

/** What a glob is written with: braces are written out first, and then stars are told apart. */
type Lexeme = Unbraced | { kind: "open" } | { kind: "comma" } | { kind: "close" };
type Unbraced = Token | { kind: "asterisk" };

const SLASH = 0x2f;

/**
 * Compiles a list of globs into one question: does any of them match the key?
 * Refuses with `invalid-body`, in words for whoever wrote the globs.
 */
export function compileGlobs(globs: readonly string[]): Result<(key: string) => boolean> {
  if (globs.length > GLOBS_MAX) return refuse(`there are ${globs.length} globs, and may be ${GLOBS_MAX}`);
  const tokens: Token[] = [];
  const starts: number[] = [];
  let weight = 0;
  for (const glob of globs) {
    const alternatives = parseGlob(glob);
    if (!alternatives.ok) return alternatives;
    for (const alternative of alternatives.value) {
      starts.push(tokens.length);
      tokens.push(...alternative, { kind: "end" });
      for (const token of alternative) weight += token.kind === "class" ? token.ranges.length : 1;
      weight++;
    }
    if (weight > LIST_MAX_CHARS) {
      const detail = `the globs have more than ${LIST_MAX_CHARS} characters, with all braces written out`;
      return refuse(`${detail}; take fewer or wider ones, or name the keys in a list ("keys")`);
    }
  }
  return ok(automaton(tokens, starts));
}

/** A set of states: bit `n % 32` of word `n / 32`. */
type States = Uint32Array;

/**
 * What a state goes on to without a character lies one or three states ahead, and never further by another such step but
 * for folders, globstar, slash: so one pass over the words, from the first on, is all of a step.
 */
function automaton(tokens: readonly Token[], starts: readonly number[]): (key: string) => boolean {
  const words = Math.ceil(tokens.length / 32);
  const where = (is: (token: Token, at: number) => boolean): States => {
    const states = new Uint32Array(words);
    for (const [at, token] of tokens.entries()) if (is(token, at)) add(states, at);
    return states;
  };
  const folders = where(({ kind }) => kind === "folders");
  const globstars = where(({ kind }) => kind === "globstar");
  const loops = where(({ kind }) => kind === "star" || kind === "globstar");
  const ends = where(({ kind }) => kind === "end");
  /** Whatever follows, it matches. */
  const decided = where(({ kind }, at) => kind === "globstar" && tokens[at + 1]?.kind === "end");
  const takers = takersOf(tokens, where);
  const first = new Uint32Array(words);
  for (const start of starts) add(first, start);
  const nobody = new Uint32Array(words);
  let current = new Uint32Array(words);
  let next = new Uint32Array(words);

  /** Enters what `from` goes on to: the next ones of those that move, those that stay, and what follows without a character. */
  function step(from: States, moving: States, staying: States): "none" | "some" | "decided" {
    let [carry, skips, more, any] = [0, 0, 0, 0];
    for (let w = 0; w < words; w++) {
      const was = from[w] ?? 0;
      const moved = was & (moving[w] ?? 0);
      let now = (was & (staying[w] ?? 0)) | (moved << 1) | carry;
      carry = moved >>> 31;
      const folder = now & (folders[w] ?? 0);
      now |= (folder << 1) | (folder << 3) | skips;
      skips = (folder >>> 31) | (folder >>> 29);
      const looping = now & (loops[w] ?? 0);
      now |= (looping << 1) | more;
      more = looping >>> 31;
      if ((now & (decided[w] ?? 0)) !== 0) return "decided";
      next[w] = now;
      any |= now;
    }
    return any === 0 ? "none" : "some";
  }

  return (key) => {
    let found = step(first, nobody, first);
    for (let at = 0; at < key.length && found === "some";) {
      const point = key.codePointAt(at) ?? 0;
      at += point > 0xffff ? 2 : 1;
      [current, next] = [next, current];
      found = step(current, takers(point), point === SLASH ? globstars : loops);
    }
    return found === "decided" || (found === "some" && next.some((states, w) => (states & (ends[w] ?? 0)) !== 0));
  };
}

const add = (states: States, at: number): void => {
  states[at >>> 5] = (states[at >>> 5] ?? 0) | (1 << (at & 31));
};

/** The states that take a code point and move on; worked out once for all points that no token tells apart. */
function takersOf(
  tokens: readonly Token[],
  where: (is: (token: Token) => boolean) => States,
): (point: number) => States {
  const told = new Set([0, SLASH, SLASH + 1]);
  for (const token of tokens) {
    const ranges = token.kind === "class" ? token.ranges : token.kind === "point" ? [[token.point, token.point]] : [];
    for (const [low = 0, high = 0] of ranges) told.add(low).add(high + 1);
  }
  const firsts = Uint32Array.from(told).sort();
  const known: (States | undefined)[] = [];
  return (point) => {
    let [low, high] = [0, firsts.length];
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((firsts[middle] ?? 0) <= point) low = middle;
      else high = middle;
    }
    return (known[low] ??= where((token) => takes(token, point)));
  };
}

/** Whether it takes the code point and is done with it. */
function takes(token: Token, point: number): boolean {
  switch (token.kind) {
    case "point":
      return token.point === point;
    case "one":
      return point !== SLASH;
    case "class":
      return point !== SLASH && token.ranges.some(([low, high]) => low <= point && point <= high) !== token.negated;
    case "star":
    case "globstar":
    case "folders":
    case "end":
      return false;
  }
}

/** A glob as the texts its braces stand for, each as tokens. */
function parseGlob(glob: string): Result<Token[][]> {
  const about = (detail: string) => refuse(`"${glob.slice(0, 80)}": ${detail}`);
  if (glob === "") return refuse('a glob is empty; "**" matches every key');
  if (glob.length > GLOB_MAX_CHARS) return about(`it has ${glob.length} characters, and may have ${GLOB_MAX_CHARS}`);
  if (!glob.isWellFormed()) return about("it holds half a surrogate pair, which no key does");
  const lexemes = lex(glob);
  if (typeof lexemes === "string") return about(lexemes);
  const alternatives = expand(lexemes);
  if (typeof alternatives === "string") return about(alternatives);
  return ok(alternatives.map(tellStarsApart));
}

const refuse = (detail: string): { ok: false; failure: Failure } => fail(failure("invalid-body", detail));

/** Reads a glob character by character; a text says what is wrong with it. */
function lex(glob: string): Lexeme[] | string {
  const points = Array.from(glob, (char) => char.codePointAt(0) ?? 0);
  const lexemes: Lexeme[] = [];
  let depth = 0;
  for (let at = 0; at < points.length; at++) {
    const point = points[at] ?? 0;
    const char = String.fromCodePoint(point);
    if (char === "[") {
      const read = readClass(points, at + 1);
      if (typeof read === "string") return read;
      lexemes.push(read.token);
      at = read.last;
    } else if (char === "\\") {
      const escaped = points[++at];
      if (escaped === undefined) return "nothing follows the last \\; write \\\\ for the character itself";
      lexemes.push({ kind: "point", point: escaped });
    } else if (char === "*") lexemes.push({ kind: "asterisk" });
    else if (char === "?") lexemes.push({ kind: "one" });
    else if (char === "{") {
      depth++;
      lexemes.push({ kind: "open" });
    } else if (char === "}") {
      if (--depth < 0) return "a } closes nothing; write \\} for the character itself";
      lexemes.push({ kind: "close" });
    } else if (char === "," && depth > 0) lexemes.push({ kind: "comma" });
    else lexemes.push({ kind: "point", point });
  }
  return depth > 0 ? "a { is not closed; write \\{ for the character itself" : lexemes;
}

/** Reads the inside of brackets from `at`; `last` is where the closing one stands. */
function readClass(points: readonly number[], at: number): { token: Token; last: number } | string {
  const ranges: [number, number][] = [];
  if (points[at] === 0x5e) return "[^ means different things elsewhere; write [! or [\\^";
  const negated = points[at] === 0x21;
  let i = negated ? at + 1 : at;
  const read = (): number | undefined => {
    if (points[i] === 0x5c) i++;
    return points[i++];
  };
  while (i < points.length && points[i] !== 0x5d) {
    const low = read();
    const isRange = points[i] === 0x2d && points[i + 1] !== 0x5d;
    if (isRange) i++;
    const high = isRange ? read() : low;
    if (low === undefined || high === undefined) break;
    if (low > high) return "a range in brackets runs backwards";
    if (low === SLASH || high === SLASH) return "brackets never match a slash; write it outside of them";
    ranges.push([low, high]);
  }
  if (i >= points.length) return "a [ is not closed; write \\[ for the character itself";
  if (ranges.length === 0) return "brackets are empty; write \\[ and \\] for the characters themselves";
  return { token: { kind: "class", negated, ranges }, last: i };
}

/** Writes braces out: each combination of alternatives once, in order. A text says what is wrong. */
function expand(lexemes: readonly Lexeme[]): Unbraced[][] | string {
  /** For each brace that is open, and for the glob itself: what stood before the last comma, and since. */
  const open: { done: Unbraced[][]; current: Unbraced[][] }[] = [{ done: [], current: [[]] }];
  for (const lexeme of lexemes) {
    const inner = open.at(-1);
    if (inner === undefined) break;
    if (lexeme.kind === "open") open.push({ done: [], current: [[]] });
    else if (lexeme.kind === "comma") {
      inner.done.push(...inner.current);
      inner.current = [[]];
    } else if (lexeme.kind === "close") {
      if (inner.done.length === 0) return "braces hold no comma; write \\{ and \\} for the characters themselves";
      open.pop();
      const outer = open.at(-1);
      if (outer === undefined) break;
      const alternatives = [...inner.done, ...inner.current];
      if (outer.current.length * alternatives.length > ALTERNATIVES_MAX) return TOO_MANY;
      outer.current = outer.current.flatMap((before) => alternatives.map((after) => [...before, ...after]));
    } else for (const alternative of inner.current) alternative.push(lexeme);
    if (inner.done.length + inner.current.length > ALTERNATIVES_MAX) return TOO_MANY;
  }
  return open[0]?.current ?? [];
}

const TOO_MANY = `its braces stand for more than ${ALTERNATIVES_MAX} globs`;

/** One star is `*`, more are `**`; as a whole segment, with the slash behind it, it may be missing. */
function tellStarsApart(lexemes: readonly Unbraced[]): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < lexemes.length; at++) {
    const lexeme = lexemes[at];
    if (lexeme === undefined) continue;
    if (lexeme.kind !== "asterisk") {
      tokens.push(lexeme);
      continue;
    }
    const first = at;
    while (lexemes[at + 1]?.kind === "asterisk") at++;
    const startsSegment = tokens.length === 0 || isSlash(tokens.at(-1));
    if (at === first) tokens.push({ kind: "star" });
    else if (!startsSegment || !isSlash(lexemes[at + 1])) tokens.push({ kind: "globstar" });
    // "**/**/" is "**/".
    else if (tokens.at(-3)?.kind === "folders") at++;
    else tokens.push({ kind: "folders" }, { kind: "globstar" });
  }
  return tokens;
}

const isSlash = (lexeme: Lexeme | undefined): boolean => lexeme?.kind === "point" && lexeme.point === SLASH;
