import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { hkdf, timingSafeEqual, webHmac } from "../../workers/adapters/web-hmac.ts";
import {
  decodeBase64Url,
  decodeJwt,
  encodeBase64Url,
  signJwt,
  TOKEN_MAX_LENGTH,
} from "../../workers/core/capability/jwt.ts";
import {
  type CapabilityClaims,
  capabilityClaims,
  createTokens,
  type JobClaims,
  type KeyRing,
  parseMasterKeys,
} from "../../workers/core/capability/token.ts";

const deps = { hmacKey: webHmac.hmacKey, hkdf, timingSafeEqual };
const masters = { k1: new Uint8Array(32).fill(1), k2: new Uint8Array(32).fill(2) };
const ring = (current: string, keys: Record<string, Uint8Array>): KeyRing => ({
  current,
  keys: new Map(Object.entries(keys)),
});
const tokens = createTokens(deps, ring("k1", masters));

const epoch = 1_800_000_000;
const now = epoch * 1000;
const validity = { nbf: epoch, exp: epoch + 3600 };
const dataset = { ds: "ds_1", name: "era5", ver: "3" };
const claims: CapabilityClaims = {
  ...dataset,
  ...validity,
  pfx: ["t2m/"],
  keys: ["zarr.json"],
  ops: ["read"],
  job: null,
  jti: "cap_1",
};
const job: JobClaims = { ...validity, job: "job_1", ds: "ds_1", jti: "tok_1" };

const utf8 = (text: string) => new TextEncoder().encode(text);
const part = (value: unknown) => encodeBase64Url(utf8(JSON.stringify(value)));
const refusal = (code: string) => ({ ok: false, failure: { code } });
/** What a holder of the derived key would sign: to see that more than the signature is checked. */
async function signed(header: { kid: string; typ: string }, body: object, info = "penstock/cap/v1"): Promise<string> {
  return signJwt(await webHmac.hmacKey(await hkdf(masters.k1, info)), header, body);
}

describe("a capability", () => {
  it("says again what it was minted with", async () => {
    const token = await tokens.mintCapability(claims);
    expect(await tokens.verifyCapability(token, now)).toEqual({ ok: true, value: claims });
    expect(decodeJwt(token)).toMatchObject({ value: { header: { alg: "HS256", kid: "k1", typ: "cap" } } });
  });

  it("is refused with any character changed", async () => {
    const token = await tokens.mintCapability(claims);
    for (let at = 0; at < token.length; at++) {
      for (const char of ["A", "B", "_", ".", "=", " "]) {
        const forged = token.slice(0, at) + char + token.slice(at + 1);
        if (forged !== token)
          expect(await tokens.verifyCapability(forged, now)).toMatchObject(refusal("invalid-token"));
      }
    }
  });

  it("is refused truncated anywhere, or with anything added", async () => {
    const token = await tokens.mintCapability(claims);
    for (let end = 0; end < token.length; end++) {
      expect(await tokens.verifyCapability(token.slice(0, end), now)).toMatchObject(refusal("invalid-token"));
    }
    for (const more of ["=", "\n", ".", ".e30", "A"]) {
      expect(await tokens.verifyCapability(token + more, now)).toMatchObject(refusal("invalid-token"));
      expect(await tokens.verifyCapability(more + token, now)).toMatchObject(refusal("invalid-token"));
    }
  });

  it.each([
    { alg: "none" },
    { alg: "None" },
    { alg: "HS512" },
    { alg: "RS256" },
    { crit: ["exp"] },
    { jwk: {} },
    { typ: "JWT" },
    { typ: "__proto__" },
    { kid: "k3" },
    { kid: "constructor" },
    { kid: 1 },
    { kid: undefined },
  ])("is refused with %j in its header, however it is signed", async (change) => {
    const head = part({ alg: "HS256", kid: "k1", typ: "cap", ...change });
    const input = `${head}.${part(claims)}`;
    const sign = await webHmac.hmacKey(await hkdf(masters.k1, "penstock/cap/v1"));
    for (const signature of ["", encodeBase64Url(new Uint8Array(32)), encodeBase64Url(await sign(utf8(input)))]) {
      expect(await tokens.verifyCapability(`${input}.${signature}`, now)).toMatchObject(refusal("invalid-token"));
    }
  });

  it("is refused under another kid than it was signed with, known or not", async () => {
    const [, body, signature] = (await tokens.mintCapability(claims)).split(".");
    for (const kid of ["k2", "k3", ""]) {
      const swapped = `${part({ alg: "HS256", kid, typ: "cap" })}.${body}.${signature}`;
      expect(await tokens.verifyCapability(swapped, now)).toMatchObject(refusal("invalid-token"));
    }
  });

  it("outlives the change of the signing key, and dies with its key", async () => {
    const token = await tokens.mintCapability(claims);
    const next = createTokens(deps, ring("k2", masters));
    const later = createTokens(deps, ring("k2", { k2: masters.k2 }));
    expect(await next.verifyCapability(token, now)).toMatchObject({ ok: true });
    expect(decodeJwt(await next.mintCapability(claims))).toMatchObject({ value: { header: { kid: "k2" } } });
    expect(await later.verifyCapability(token, now)).toMatchObject(refusal("invalid-token"));
  });

  it("is refused when its claims are not those of a capability, though we signed them", async () => {
    const header = { kid: "k1", typ: "cap" };
    const bad = [
      { pfx: ["era5"] },
      { ops: ["write"] },
      { ops: [] },
      { ver: "0" },
      { exp: "never" },
      { exp: 1.5 },
      { more: 1 },
    ];
    for (const change of bad) {
      const token = await signed(header, { ...claims, ...change });
      expect(await tokens.verifyCapability(token, now)).toMatchObject(refusal("invalid-token"));
    }
    expect(await tokens.verifyCapability(await signed(header, job), now)).toMatchObject(refusal("invalid-token"));
  });

  it("fits a URL's path whenever its claims parse, and they do not parse when it would not", async () => {
    const long = (bytes: number) => ({
      ...claims,
      keys: Array.from({ length: 62 }, (_, n) => `${n}`.padEnd(bytes, "k")),
    });
    const widest = await tokens.mintCapability(capabilityClaims.parse(long(185)));
    expect(widest.length).toBeLessThanOrEqual(TOKEN_MAX_LENGTH);
    expect(await tokens.verifyCapability(widest, now)).toMatchObject({ ok: true });
    expect(capabilityClaims.safeParse(long(1024)).success).toBe(false);
    expect(capabilityClaims.safeParse({ ...claims, keys: Array.from({ length: 64 }, () => "k") }).success).toBe(false);
  });
});

describe("time", () => {
  it.each([
    ["at nbf", 0, "ok"],
    ["60 s before nbf", -60, "ok"],
    ["61 s before nbf", -61, "token-not-yet-valid"],
    ["a second before exp", 3599, "ok"],
    ["59 s after exp", 3659, "ok"],
    ["60 s after exp", 3660, "expired-token"],
    ["with no clock", Number.NaN, "expired-token"],
  ])("%s the answer to either kind is the same", async (_, seconds, code) => {
    const at = now + seconds * 1000;
    const expected = code === "ok" ? { ok: true } : refusal(code);
    expect(await tokens.verifyCapability(await tokens.mintCapability(claims), at)).toMatchObject(expected);
    expect(await tokens.verifyJobToken(await tokens.mintJobToken(job), at)).toMatchObject(expected);
  });
});

describe("a token of the other kind", () => {
  it("is told apart when we did sign it", async () => {
    expect(await tokens.verifyJobToken(await tokens.mintJobToken(job), now)).toEqual({ ok: true, value: job });
    expect(await tokens.verifyCapability(await tokens.mintJobToken(job), now)).toMatchObject(
      refusal("wrong-token-kind"),
    );
    expect(await tokens.verifyJobToken(await tokens.mintCapability(claims), now)).toMatchObject(
      refusal("wrong-token-kind"),
    );
  });

  it("is told apart from a forged one, and has no other key than its own", async () => {
    for (const [typ, info] of [
      ["job", "penstock/cap/v1"],
      ["cap", "penstock/job/v1"],
    ] as const) {
      const forged = await signed({ kid: "k1", typ }, typ === "job" ? job : claims, info);
      expect(await tokens.verifyCapability(forged, now)).toMatchObject(refusal("invalid-token"));
      expect(await tokens.verifyJobToken(forged, now)).toMatchObject(refusal("invalid-token"));
    }
  });
});

describe("anything else", () => {
  const segment = fc.oneof(
    fc.base64String(),
    fc.string({ unit: "binary" }),
    fc.json().map((json) => encodeBase64Url(utf8(json))),
  );
  const header = fc.record({
    alg: fc.constantFrom("HS256", "none"),
    kid: fc.constantFrom("k1", "k9"),
    typ: fc.constantFrom("cap", "job"),
  });
  const noise = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: fc.constantFrom("\ud800", "\udfff", ".", "e", "3") }),
    fc.array(segment, { maxLength: 5 }).map((parts) => parts.join(".")),
    fc
      .tuple(header.map(part), segment, fc.uint8Array({ maxLength: 33 }).map(encodeBase64Url))
      .map((parts) => parts.join(".")),
  );

  it("is an invalid token, and never an exception", async () => {
    await fc.assert(
      fc.asyncProperty(noise, async (token) => {
        expect(await tokens.verifyCapability(token, now)).toMatchObject(refusal("invalid-token"));
        expect(await tokens.verifyJobToken(token, now)).toMatchObject(refusal("invalid-token"));
      }),
      { numRuns: 2000 },
    );
  });

  it("is not read beyond 16 KiB, nor when its JSON is not UTF-8", async () => {
    const huge = await signed({ kid: "k1", typ: "cap" }, { ...claims, keys: ["k".repeat(TOKEN_MAX_LENGTH)] });
    expect(decodeJwt(huge)).toMatchObject(refusal("invalid-token"));
    const bytes = encodeBase64Url(Uint8Array.of(0x22, 0xff, 0x22));
    const head = part({ alg: "HS256", kid: "k1", typ: "cap" });
    expect(decodeJwt(`${head}.${bytes}.${encodeBase64Url(new Uint8Array(32))}`)).toMatchObject(
      refusal("invalid-token"),
    );
  });
});

describe("base64url", () => {
  it("is what Node makes of the same bytes, and comes back", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        const text = btoa(String.fromCharCode(...bytes))
          .replaceAll("+", "-")
          .replaceAll("/", "_")
          .replace(/=+$/, "");
        expect(encodeBase64Url(bytes)).toBe(text);
        expect(decodeBase64Url(text)).toEqual(bytes);
      }),
    );
  });

  it("has one spelling for the same bytes", () => {
    for (const text of ["A", "AB", "AAB", "AA==", "AA=", "A A", "AA\n", "A+", "A/", "é", "AAAAA"]) {
      expect(decodeBase64Url(text)).toBeUndefined();
    }
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("A", "Q", "g", "w", "B", "-", "_", "=") }), (text) => {
        const bytes = decodeBase64Url(text);
        if (bytes) expect(encodeBase64Url(bytes)).toBe(text);
      }),
    );
  });

  it("carries the signature of RFC 7515, appendix A.1", async () => {
    const jwk = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75" + "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const input =
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." +
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const sign = await webHmac.hmacKey(decodeBase64Url(jwk) ?? new Uint8Array());
    expect(encodeBase64Url(await sign(utf8(input)))).toBe("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
  });
});

describe("MASTER_KEYS", () => {
  const key = encodeBase64Url(masters.k1);
  const other = encodeBase64Url(masters.k2);

  it("holds one key or two, of which the first signs", () => {
    expect(parseMasterKeys(`k1:${key}\n`)).toEqual({ ok: true, value: ring("k1", { k1: masters.k1 }) });
    expect(parseMasterKeys(`k2:${other},k1:${key}`)).toEqual({ ok: true, value: ring("k2", masters) });
  });

  it.each([
    undefined,
    "",
    key,
    `:${key}`,
    `k1:`,
    `k1:${key}=`,
    `k1:${key.slice(0, 20)}`,
    `k1:${key},`,
    `k1:${key},k1:${other}`,
    `k1:${key},k2:${other},k3:${key}`,
    `k1:${key}:${other}`,
    `a-kid-of-17-chars:${key}`,
    `k 1:${key}`,
  ])("is refused as %j, with the way out and without the key", (text) => {
    const result = parseMasterKeys(text);
    expect(result).toMatchObject({ ok: false, failure: { code: "misconfigured", field: "MASTER_KEYS" } });
    const said = JSON.stringify(result);
    expect(said).toContain("wrangler secret put MASTER_KEYS");
    expect(said).not.toContain(key.slice(0, 8));
    expect(said).not.toContain(other.slice(0, 8));
  });
});
