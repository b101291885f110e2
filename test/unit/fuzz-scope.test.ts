import { deepStrictEqual } from "node:assert";
import fc from "fast-check";
import { test } from "vitest";
import { authorise } from "../../workers/core/capability/authorise.ts";
import { storeKey } from "../../workers/core/migration/join.ts";
import { mutated } from "../reference/mutated.ts";
import { count, PATIENCE, RUNS } from "./fuzz-runs.ts";

/** Names of which one begins another, also once R2 has normalised them. */
const name = fc.constantFrom(
  "a",
  "ab",
  "era5",
  "era5-private",
  "cafe",
  "cafe\u0301",
  "caf\u00e9",
  "\u0338",
  "\u212b",
  "..",
  ".",
  "",
  "%2F",
);
const key = mutated(fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join("/")));
const prefix = fc.oneof(
  { arbitrary: fc.array(name, { maxLength: 3 }).map((names) => names.map((part) => `${part}/`).join("")), weight: 4 },
  // What is listed as a prefix and is none opens nothing.
  { arbitrary: name, weight: 1 },
);
const scope = fc.record({
  prefixes: fc.array(prefix, { maxLength: 3 }),
  keys: fc.array(
    key.filter((text) => text !== ""),
    { maxLength: 2 },
  ),
});

/** Byte by byte, as the design has it: whole prefixes, whole keys, nothing resolved and nothing normalised. */
function referenceCovers({ prefixes, keys }: { prefixes: string[]; keys: string[] }, asked: string): boolean {
  const bytes = Buffer.from(asked, "utf16le");
  const begins = (text: string) => {
    const start = Buffer.from(text, "utf16le");
    return bytes.length >= start.length && bytes.compare(start, 0, start.length, 0, start.length) === 0;
  };
  const isSame = (text: string) => begins(text) && text.length === asked.length;
  return keys.some(isSame) || prefixes.some((text) => (text === "" || text.at(-1) === "/") && begins(text));
}

test(
  `${count(RUNS.scopes)} keys are open to whom the reference opens them, and under no other name`,
  { timeout: PATIENCE },
  () => {
    const operation = fc.constantFrom("read" as const, "head" as const);
    const method = fc.constantFrom("GET" as const, "HEAD" as const);
    fc.assert(
      fc.property(scope, key, operation, method, ({ prefixes, keys }, asked, ops, by) => {
        const claims = {
          ...{ ds: "ds_1", name: "era5", ver: "live", pfx: prefixes, keys, ops: [ops] },
          ...{ job: null, nbf: 0, exp: 1, jti: "cap_1" },
        };
        const allowed = authorise(claims, { datasetName: "era5", version: "live", key: asked, method: by });
        const isOpen = referenceCovers({ prefixes, keys }, asked);
        const refused = !isOpen ? "out-of-scope" : ops === "head" && by === "GET" ? "wrong-operation" : null;
        deepStrictEqual(allowed.ok ? null : allowed.failure.code, refused);
        // The object that R2 finds for the key lies in the same scope, as R2 spells it.
        const inR2 = { prefixes: prefixes.map(storeKey), keys: keys.map(storeKey) };
        if (allowed.ok) deepStrictEqual(referenceCovers(inR2, storeKey(asked)), true);
      }),
      { numRuns: RUNS.scopes },
    );
  },
);
