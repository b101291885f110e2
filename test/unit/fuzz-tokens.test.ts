import { deepStrictEqual } from "node:assert";
import fc from "fast-check";
import { test } from "vitest";
import { hkdf, timingSafeEqual, webHmac } from "../../workers/adapters/web-hmac.ts";
import { createTokens } from "../../workers/core/capability/token.ts";
import { claimsIn, type Masters, referenceVerify, signAs } from "../reference/capability.ts";
import { mostly, mutated } from "../reference/mutated.ts";
import { count, PATIENCE, RUNS } from "./fuzz-runs.ts";

const masters = { k1: new Uint8Array(32).fill(1), k2: new Uint8Array(32).fill(2) } satisfies Masters;
const ring = { current: "k1", keys: new Map(Object.entries(masters)) };
const deps = { hmacKey: webHmac.hmacKey, hkdf, timingSafeEqual };
const tokens = createTokens(deps, ring);

const EPOCH = 1_800_000_000;
const CLAIMS = {
  ...{ ds: "ds_1", name: "era5", ver: "live", pfx: ["t2m/"], keys: ["zarr.json"], ops: ["read"] },
  ...{ job: null, nbf: EPOCH, exp: EPOCH + 3600, jti: "cap_1" },
};

/** One claim made wrong, odd, or right in another way. */
const odd: fc.Arbitrary<unknown> = fc.constantFrom<unknown>(
  ...[
    null,
    0,
    -1,
    1.5,
    1e300,
    EPOCH,
    true,
    "",
    "live",
    "0",
    "era5",
    "../x",
    [],
    [""],
    ["a"],
    ["a/"],
    ["read"],
    ["write"],
  ],
  ...[
    ["head", "read"],
    [1],
    {},
    "k".repeat(65),
    ["k".repeat(12_000)],
    Array.from({ length: 65 }, () => "k"),
    "\ud800",
    "é",
  ],
);
const claim = fc.constantFrom(...Object.keys(CLAIMS), "more", "__proto__", "admin");
const changed = fc
  .tuple(claim, odd)
  .map(([name, value]) => Object.fromEntries([...Object.entries(CLAIMS), [name, value]]));
const dropped = claim.map((name) => Object.fromEntries(Object.entries(CLAIMS).filter(([other]) => other !== name)));
const claims = fc.oneof(
  { arbitrary: fc.constant<unknown>(CLAIMS), weight: 4 },
  { arbitrary: changed, weight: 4 },
  { arbitrary: dropped, weight: 1 },
  { arbitrary: fc.constantFrom(null, [], "text", { job: "job_1" }), weight: 1 },
);
const RIGHT = { alg: "HS256", kid: "k1", typ: "cap" };
const mixed = fc.record({
  alg: mostly(["HS256"], ["none", "HS512", "hs256"]),
  kid: mostly<unknown>(["k1", "k2"], ["k3", "constructor", "__proto__", "", 1]),
  typ: mostly(["cap", "job"], ["JWT"]),
});
const header = fc.oneof(
  { arbitrary: fc.constant<unknown>(RIGHT), weight: 6 },
  { arbitrary: mixed, weight: 3 },
  { arbitrary: fc.constantFrom({ ...RIGHT, crit: ["exp"] }, { alg: "HS256" }, [], null), weight: 1 },
);
const info = mostly(["penstock/cap/v1", "penstock/cap/v1", "penstock/job/v1"], [""]);
const master = mostly([masters.k1, masters.k1, masters.k2], [new Uint8Array(32)]);
/** What a holder of one of the keys, or of another, could sign. */
const signed = fc
  .tuple(master, info, header, claims)
  .map(([key, purpose, head, body]) => signAs(key, purpose, head, body));

/** The segments of two tokens of ours, put together anew. */
const swapped = fc
  .tuple(signed, signed, fc.array(fc.nat(5), { minLength: 2, maxLength: 4 }))
  .map(([one, other, order]) => {
    const segments = [...one.split("."), ...other.split(".")];
    return order.map((index) => segments[index] ?? "").join(".");
  });
/** One bit of one character turned over. */
const flipped = fc.tuple(signed, fc.nat(0xffff), fc.nat(6)).map(([token, place, bit]) => {
  const at = place % token.length;
  return token.slice(0, at) + String.fromCharCode(token.charCodeAt(at) ^ (1 << bit)) + token.slice(at + 1);
});
/** The last character of the signature in another spelling of the same bytes. */
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const respelt = fc.tuple(signed, fc.nat(3)).map(([token, bits]) => {
  return token.slice(0, -1) + (ALPHABET[ALPHABET.indexOf(token.at(-1) ?? "") ^ bits] ?? "");
});
const truncated = fc.tuple(signed, fc.nat(0xffff)).map(([token, place]) => token.slice(0, place % token.length));
const huge = fc.tuple(signed, fc.constantFrom("A", ".", "A.", "😀")).map(([token, more]) => token + more.repeat(9000));
const token = fc.oneof(
  { arbitrary: signed, weight: 8 },
  { arbitrary: flipped, weight: 3 },
  { arbitrary: swapped, weight: 2 },
  { arbitrary: mutated(signed), weight: 2 },
  { arbitrary: respelt, weight: 1 },
  { arbitrary: truncated, weight: 1 },
  { arbitrary: fc.string({ unit: "binary" }), weight: 1 },
  { arbitrary: huge, weight: 1 },
);
const seconds = mostly([-60, 0, 1800, 3600, 3659], [-3600, -61, 3660, 7200]).map((after) => (EPOCH + after) * 1000);

test(`${count(RUNS.tokens)} tokens open what the reference says, or nothing`, { timeout: PATIENCE }, async () => {
  await fc.assert(
    fc.asyncProperty(token, seconds, async (text, now) => {
      const expected = referenceVerify(text, masters, now);
      // The second time from memory, where it is good; and what differs from it by a character is not in there.
      for (const asked of expected === "ok" ? [text, text, `${text}A`, text.slice(0, -1)] : [text]) {
        const verified = await tokens.verifyCapability(asked, now);
        deepStrictEqual(verified.ok ? "ok" : verified.failure.code, referenceVerify(asked, masters, now));
        if (verified.ok) deepStrictEqual(verified.value, claimsIn(asked));
      }
      const recalled = tokens.recallCapability(text, now);
      deepStrictEqual(recalled?.ok === true, expected === "ok");
    }),
    { numRuns: RUNS.tokens },
  );
});
