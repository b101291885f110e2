import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { hkdf, timingSafeEqual, webHmac } from "../../workers/adapters/web-hmac.ts";
import {
  type CapabilityClaims,
  createTokens,
  type JobClaims,
  type KeyRing,
} from "../../workers/core/capability/token.ts";
import { VerifiedTokens } from "../../workers/core/capability/verified-tokens.ts";

const deps = { hmacKey: webHmac.hmacKey, hkdf, timingSafeEqual };
const [k1, k2] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
const both: KeyRing = { current: "k1", keys: new Map(Object.entries({ k1, k2 })) };
const old: KeyRing = { current: "k1", keys: new Map([["k1", k1]]) };
const next: KeyRing = { current: "k2", keys: new Map([["k2", k2]]) };

const NBF = 1_800_000_000;
const now = NBF * 1000;
const capability = (jti: string, life = 3600, nbf = NBF): CapabilityClaims => ({
  ...{ ds: "ds_1", name: "era5", ver: "live", pfx: [""], keys: [], ops: ["read"], job: null },
  ...{ jti, nbf, exp: nbf + life },
});
const job = (jti: string): JobClaims => ({ job: "job_1", ds: "ds_1", jti, nbf: NBF, exp: NBF + 3600 });
const refusal = (code: string) => ({ ok: false, failure: { code } });

/** Tokens whose signatures are counted as they are checked. */
function counted() {
  let checks = 0;
  const timingSafe = (a: Uint8Array, b: Uint8Array) => {
    checks++;
    return timingSafeEqual(a, b);
  };
  const tokens = createTokens({ ...deps, timingSafeEqual: timingSafe }, both);
  return { tokens, checks: () => checks };
}

describe("a token that was verified", () => {
  it("has its signature checked once, and its time at every call", async () => {
    const { tokens, checks } = counted();
    const token = await tokens.mintCapability(capability("a"));
    expect(tokens.recallCapability(token, now)).toBeNull();
    for (let again = 0; again < 5; again++) {
      expect(await tokens.verifyCapability(token, now + again)).toEqual({ ok: true, value: capability("a") });
    }
    expect(tokens.recallCapability(token, now)).toEqual({ ok: true, value: capability("a") });
    expect(tokens.recallCapability(token, now - 60_001)).toMatchObject(refusal("token-not-yet-valid"));
    expect(tokens.recallCapability(token, now - 60_000)).toMatchObject({ ok: true });
    expect(checks()).toBe(1);
  });

  it("is forgotten when it has expired, and is then as expired as before", async () => {
    const { tokens, checks } = counted();
    const token = await tokens.mintCapability(capability("a"));
    await tokens.verifyCapability(token, now);
    const late = now + 3_660_000;
    expect(tokens.recallCapability(token, late)).toMatchObject(refusal("expired-token"));
    expect(tokens.recallCapability(token, late)).toBeNull();
    expect(await tokens.verifyCapability(token, late)).toMatchObject(refusal("expired-token"));
    expect(tokens.recallCapability(token, late)).toBeNull();
    expect(checks()).toBe(2);
  });

  it("of a job is remembered as well, and neither kind in the other's place", async () => {
    const { tokens, checks } = counted();
    const [cap, tok] = [await tokens.mintCapability(capability("a")), await tokens.mintJobToken(job("b"))];
    for (let again = 0; again < 3; again++) {
      expect(await tokens.verifyCapability(cap, now)).toMatchObject({ ok: true });
      expect(await tokens.verifyJobToken(tok, now)).toEqual({ ok: true, value: job("b") });
    }
    expect(checks()).toBe(2);
    expect(await tokens.verifyCapability(tok, now)).toMatchObject(refusal("wrong-token-kind"));
    expect(await tokens.verifyJobToken(cap, now)).toMatchObject(refusal("wrong-token-kind"));
    expect(tokens.recallCapability(tok, now)).toBeNull();
  });
});

describe("a token that was refused", () => {
  it("is not remembered: not yet valid, expired, forged or of the other kind", async () => {
    const { tokens } = counted();
    const token = await tokens.mintCapability(capability("a"));
    const forged = `${token.slice(0, -2)}AA`;
    for (const [text, at] of [
      [token, now - 100_000],
      [token, now + 9_999_000],
      [forged, now],
      [await tokens.mintJobToken(job("b")), now],
    ] as const) {
      expect(await tokens.verifyCapability(text, at)).toMatchObject({ ok: false });
      expect(tokens.recallCapability(text, now)).toBeNull();
    }
  });

  it("is refused beside a remembered one that differs in its last character alone", async () => {
    const { tokens } = counted();
    const token = await tokens.mintCapability(capability("a"));
    expect(await tokens.verifyCapability(token, now)).toMatchObject({ ok: true });
    for (const char of "AEIMQUYcgkosw048BZ_-") {
      const other = token.slice(0, -1) + char;
      if (other !== token) expect(await tokens.verifyCapability(other, now)).toMatchObject(refusal("invalid-token"));
    }
  });
});

describe("rotation", () => {
  it("signs with the current key and accepts the other, and what was remembered goes with its ring", async () => {
    const [before, during, after] = [createTokens(deps, old), createTokens(deps, both), createTokens(deps, next)];
    const rotated = createTokens(deps, { ...both, current: "k2" });
    const [first, second] = [
      await before.mintCapability(capability("a")),
      await rotated.mintCapability(capability("b")),
    ];
    for (const ring of [before, during, rotated]) {
      for (let again = 0; again < 2; again++) {
        expect(await ring.verifyCapability(first, now)).toMatchObject({ ok: true });
        expect(await ring.verifyCapability(second, now)).toMatchObject(
          ring === before ? refusal("invalid-token") : { ok: true },
        );
      }
    }
    expect(after.recallCapability(first, now)).toBeNull();
    expect(await after.verifyCapability(first, now)).toMatchObject(refusal("invalid-token"));
    expect(await after.verifyCapability(second, now)).toMatchObject({ ok: true });
  });
});

/** In seconds after NBF: around every edge of the lives below, and where there is no clock. */
const moment = fc.oneof(
  fc.integer({ min: -130, max: 330 }),
  fc.constantFrom(-61, -60, 59, 60, 61, 159, 160, Number.NaN),
);

describe("the memory of verified tokens", () => {
  it("never answers differently from a verification afresh, in any order of tokens and times", async () => {
    const minter = createTokens(deps, both);
    const oldKey = await createTokens(deps, { ...both, current: "k2" }).mintCapability(capability("f"));
    const good = await Promise.all(
      [capability("a", 100), capability("b", 0), capability("c", 200, NBF + 50), capability("d", 5000)].map((claims) =>
        minter.mintCapability(claims),
      ),
    );
    const [first = ""] = good;
    const foreign = await createTokens(deps, { current: "k1", keys: new Map([["k1", k2]]) }).mintCapability(
      capability("a"),
    );
    const corpus = [
      ...good,
      oldKey,
      foreign,
      await minter.mintJobToken(job("e")),
      `${first.slice(0, -1)}-`,
      "",
      "a.b.c",
    ];
    const step = fc.record({ token: fc.constantFrom(...corpus), at: moment, asJob: fc.boolean() });
    const bounds = fc.record({ tokens: fc.integer({ min: 0, max: 4 }), characters: fc.constantFrom(0, 400, 900, 1e6) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), bounds, async (steps, within) => {
        const remembering = createTokens(deps, both, within);
        for (const { token, at, asJob } of steps) {
          const nowMs = now + at * 1000;
          const fresh = createTokens(deps, both);
          const recalled = remembering.recallCapability(token, nowMs);
          if (recalled !== null) expect(recalled).toEqual(await fresh.verifyCapability(token, nowMs));
          const [answer, expected] = asJob
            ? [await remembering.verifyJobToken(token, nowMs), await fresh.verifyJobToken(token, nowMs)]
            : [await remembering.verifyCapability(token, nowMs), await fresh.verifyCapability(token, nowMs)];
          expect(answer).toEqual(expected);
        }
      }),
      { numRuns: 200 },
    );
  });

  it("keeps within both bounds, forgets the oldest first, and counts what it holds", () => {
    const operation = fc.record({ forget: fc.boolean(), name: fc.string({ maxLength: 12 }) });
    const bounds = fc.record({ tokens: fc.integer({ min: 0, max: 5 }), characters: fc.integer({ min: 0, max: 30 }) });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), bounds, (operations, within) => {
        const verified = new VerifiedTokens<string>(within);
        let model: string[] = [];
        for (const { forget, name } of operations) {
          if (forget) {
            verified.forget(name);
            model = model.filter((held) => held !== name);
          } else {
            verified.remember(name, `claims of ${name}`);
            if (!model.includes(name)) model.push(name);
            while (model.length > within.tokens || model.join("").length > within.characters) model.shift();
          }
          expect(verified.size).toEqual({ tokens: model.length, characters: model.join("").length });
          for (const { name: asked } of operations) {
            expect(verified.get(asked)).toBe(model.includes(asked) ? `claims of ${asked}` : undefined);
          }
        }
      }),
    );
  });

  it("holds ten thousand tokens or 8 Mi characters, whichever comes first", () => {
    const [short, long] = [new VerifiedTokens<number>(), new VerifiedTokens<number>()];
    for (let n = 0; n < 10_500; n++) short.remember(String(n).padStart(300, "0"), n);
    expect(short.size).toEqual({ tokens: 10_000, characters: 3_000_000 });
    expect(short.get("499".padStart(300, "0"))).toBeUndefined();
    expect(short.get("500".padStart(300, "0"))).toBe(500);
    for (let n = 0; n < 600; n++) long.remember(String(n).padStart(16_384, "0"), n);
    expect(long.size).toEqual({ tokens: 512, characters: 8_388_608 });
  });

  it("leaves a token that it had to forget as good as it was", async () => {
    const tokens = createTokens(deps, both, { tokens: 1, characters: 1e6 });
    const [a, b] = [await tokens.mintCapability(capability("a")), await tokens.mintCapability(capability("b"))];
    for (const token of [a, b, a, b]) expect(await tokens.verifyCapability(token, now)).toMatchObject({ ok: true });
    expect(tokens.recallCapability(a, now)).toBeNull();
    expect(tokens.recallCapability(b, now)).toMatchObject({ ok: true });
  });
});
