import { type Failure, failure } from "../../failure.ts";
import { compileGlobs } from "../../migration/glob.ts";
import type { JobInput } from "../request.ts";
import { beginningOf, type KeyRange, rangesOf } from "./key-ranges.ts";

/** Something of the input that names objects, and where in the request it stands. */
interface Name {
  field: string;
  text: string;
  matches(key: string): boolean;
}

/** The objects that prefixes and globs name; and which of these name nothing that is there. */
export class NamedObjects {
  /** Where their keys are. */
  readonly ranges: KeyRange[];
  readonly #prefixes: readonly string[];
  readonly #byGlob: (key: string) => boolean;
  /** Those that no key has matched so far. */
  #unmatched: Name[];

  constructor({ prefixes, globs }: Pick<JobInput, "prefixes" | "globs">) {
    this.ranges = rangesOf([...prefixes, ...globs.map(beginningOf)]);
    this.#prefixes = prefixes;
    this.#byGlob = matcherOf(globs);
    this.#unmatched = [
      ...prefixes.map((text, n) => ({
        field: `input.prefixes.${n}`,
        text,
        matches: (key: string) => key.startsWith(text),
      })),
      ...globs.map((text, n) => ({ field: `input.globs.${n}`, text, matches: matcherOf([text]) })),
    ];
  }

  /** Whether the key is named; who was asked of all keys in `ranges` knows what names nothing. */
  has(key: string): boolean {
    if (this.#unmatched.length > 0) this.#unmatched = this.#unmatched.filter((name) => !name.matches(key));
    return this.#prefixes.some((prefix) => key.startsWith(prefix)) || this.#byGlob(key);
  }

  /** The refusal of the first that names nothing; null where each names something. */
  get refusal(): Failure | null {
    const [name] = this.#unmatched;
    if (name === undefined) return null;
    const what = name.text === "" ? "The version holds no objects" : `No object of the version is at "${name.text}"`;
    return failure("empty-input", `${what}; leave it out, or name what is there.`, { field: name.field });
  }
}

function matcherOf(globs: readonly string[]): (key: string) => boolean {
  if (globs.length === 0) return () => false;
  const compiled = compileGlobs(globs);
  // They were checked with the request.
  if (!compiled.ok) throw new Error(compiled.failure.detail);
  return compiled.value;
}
