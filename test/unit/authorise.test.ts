import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { hkdf, timingSafeEqual, webHmac } from "../../workers/adapters/web-hmac.ts";
import {
  authorise,
  isRevoked,
  type ReadRequest,
  REVOKED,
  WRONG_DATASET,
} from "../../workers/core/capability/authorise.ts";
import { covers } from "../../workers/core/capability/scope.ts";
import { type CapabilityClaims, createTokens } from "../../workers/core/capability/token.ts";
import { formatDataUrl, parseDataTarget } from "../../workers/core/http/key-path.ts";
import { storeKey } from "../../workers/core/migration/join.ts";

const NBF = 1_800_000_000;
const claims: CapabilityClaims = {
  ...{ ds: "ds_1", name: "era5", ver: "live", pfx: ["t2m/"], keys: ["zarr.json"], ops: ["read"], job: null },
  ...{ jti: "cap_1", nbf: NBF, exp: NBF + 3600 },
};
const request: ReadRequest = { datasetName: "era5", version: "live", key: "t2m/0", method: "GET" };
const refusal = (code: string, field?: string) => ({ ok: false, failure: { code, ...(field && { field }) } });

describe("a capability", () => {
  it("allows what it names: its dataset and version, its prefixes and keys, its operations", () => {
    expect(authorise(claims, request)).toEqual({ ok: true, value: claims });
    expect(authorise(claims, { ...request, key: "zarr.json", method: "HEAD" })).toMatchObject({ ok: true });
    expect(authorise({ ...claims, ver: "3" }, { ...request, version: "3" })).toMatchObject({ ok: true });
  });

  it.each<[string, Partial<ReadRequest>, string, string | undefined]>([
    ["another dataset", { datasetName: "era6" }, "wrong-dataset", "dataset"],
    ["another version", { version: "3" }, "wrong-dataset", "version"],
    ["another prefix", { key: "t2m-private/0" }, "out-of-scope", "key"],
    ["a longer key than the one it names", { key: "zarr.json2" }, "out-of-scope", "key"],
  ])("refuses %s, and names it", (_, change, code, field) => {
    expect(authorise(claims, { ...request, ...change })).toMatchObject(refusal(code, field));
  });

  it("to read is good for GET and HEAD, and one to look for HEAD alone", () => {
    const allowed = (ops: CapabilityClaims["ops"]) =>
      (["GET", "HEAD"] as const).filter((method) => authorise({ ...claims, ops }, { ...request, method }).ok);
    expect(allowed(["read"])).toEqual(["GET", "HEAD"]);
    expect(allowed(["head"])).toEqual(["HEAD"]);
    expect(allowed(["head", "read"])).toEqual(["GET", "HEAD"]);
    expect(authorise({ ...claims, ops: ["head"] }, request)).toMatchObject(refusal("wrong-operation"));
  });

  it("says what is wrong from the outside in: dataset, version, key, operation", () => {
    const wrong = { datasetName: "x", version: "3", key: "x", method: "GET" } as const;
    const looking: CapabilityClaims = { ...claims, ops: ["head"] };
    const codes = [
      authorise(looking, wrong),
      authorise(looking, { ...wrong, datasetName: "era5" }),
      authorise(looking, { ...wrong, datasetName: "era5", version: "live" }),
      authorise(looking, { ...wrong, datasetName: "era5", version: "live", key: "t2m/0" }),
    ].map((result) => (result.ok ? "ok" : `${result.failure.code} ${result.failure.field ?? ""}`));
    expect(codes).toEqual(["wrong-dataset dataset", "wrong-dataset version", "out-of-scope key", "wrong-operation "]);
  });
});

describe("revocation", () => {
  const nothing = { ids: new Set<string>(), upTo: 0 };

  it("by id ends that capability, a person's or a job's", () => {
    const revoked = { ids: new Set(["cap_1"]), upTo: 0 };
    for (const job of [null, "job_1"]) {
      expect(isRevoked({ ...claims, job }, revoked)).toBe(true);
      expect(isRevoked({ ...claims, job, jti: "cap_2" }, revoked)).toBe(false);
      expect(isRevoked({ ...claims, job }, nothing)).toBe(false);
    }
  });

  it("of all ends those that begin in that second or before, and none of a job", () => {
    const at = (nbf: number, job: string | null = null) =>
      isRevoked({ ...claims, nbf, job }, { ...nothing, upTo: NBF });
    expect([at(NBF - 1), at(NBF), at(NBF + 1)]).toEqual([true, true, false]);
    expect([at(NBF - 1, "job_1"), at(NBF, "job_1")]).toEqual([false, false]);
  });
});

describe("what is wrong with a capability", () => {
  const keys = { current: "k1", keys: new Map([["k1", new Uint8Array(32).fill(1)]]) };
  const tokens = createTokens({ hmacKey: webHmac.hmacKey, hkdf, timingSafeEqual }, keys);

  /** All that the data plane asks of a capability, in its order. */
  async function codeOf(token: string, seconds: number, asked: Partial<ReadRequest>, datasetId: string, ids: string[]) {
    const verified = await tokens.verifyCapability(token, (NBF + seconds) * 1000);
    const allowed = verified.ok ? authorise(verified.value, { ...request, ...asked }) : verified;
    if (!allowed.ok) return allowed.failure.code;
    if (allowed.value.ds !== datasetId) return WRONG_DATASET.code;
    return isRevoked(allowed.value, { ids: new Set(ids), upTo: 0 }) ? REVOKED.code : "ok";
  }

  it("has a code for each: damaged, expired, too early, wrong kind, dataset, scope, operation, revoked", async () => {
    const token = await tokens.mintCapability(claims);
    const looking = await tokens.mintCapability({ ...claims, ops: ["head"] });
    const other = await tokens.mintJobToken({ job: "j", ds: "ds_1", jti: "t", nbf: NBF, exp: NBF + 3600 });
    expect([
      await codeOf(token, 0, {}, "ds_1", []),
      await codeOf(`${token}A`, 0, {}, "ds_1", []),
      await codeOf(token, 3660, {}, "ds_1", []),
      await codeOf(token, -61, {}, "ds_1", []),
      await codeOf(other, 0, {}, "ds_1", []),
      await codeOf(token, 0, { datasetName: "era6" }, "ds_1", []),
      await codeOf(token, 0, { version: "3" }, "ds_1", []),
      await codeOf(token, 0, {}, "ds_2", []),
      await codeOf(token, 0, { key: "t3m/0" }, "ds_1", []),
      await codeOf(looking, 0, {}, "ds_1", []),
      await codeOf(token, 0, {}, "ds_1", ["cap_1"]),
    ]).toEqual([
      "ok",
      "invalid-token",
      "expired-token",
      "token-not-yet-valid",
      "wrong-token-kind",
      "wrong-dataset",
      "wrong-dataset",
      "wrong-dataset",
      "out-of-scope",
      "wrong-operation",
      "revoked-token",
    ]);
  });
});

describe("the key that is looked at", () => {
  const unit = fc.constantFrom(
    "a",
    "b",
    "/",
    ".",
    "%",
    "é",
    "e\u0301",
    "\u0338",
    " ",
    "+",
    "2",
    "F",
    "f",
    "e",
    "?",
    "#",
  );
  const key = fc.string({ unit, minLength: 1, maxLength: 12 });
  const prefix = fc.oneof(
    fc.constant(""),
    fc.string({ unit, maxLength: 4 }).map((text) => `${text.normalize("NFC")}/`),
  );
  const scope = fc.record({ pfx: fc.array(prefix, { maxLength: 3 }), keys: fc.array(key, { maxLength: 2 }) });

  /** A path that a client may send for the same key: any of its bytes escaped, in either case. */
  const spell = (text: string, escaped: boolean[], lower: boolean) =>
    [...new TextEncoder().encode(text)]
      .map((byte, index) => {
        const char = String.fromCharCode(byte);
        if (escaped[index] !== true && /[A-Za-z0-9/.+]/.test(char)) return char;
        const hex = byte.toString(16).padStart(2, "0");
        return `%${lower ? hex : hex.toUpperCase()}`;
      })
      .join("");

  it("is the decoded one, whichever way it is spelt in the URL, and in no other", () => {
    fc.assert(
      fc.property(scope, key, fc.array(fc.boolean(), { maxLength: 40 }), fc.boolean(), (open, text, escaped, lower) => {
        const target = parseDataTarget(`https://h/d/era5/${spell(text, escaped, lower)}`);
        const canonical = parseDataTarget(formatDataUrl("https://h/d/era5", text));
        if (target.ok) expect(target.value.key).toBe(text);
        for (const found of [target, canonical]) {
          if (!found.ok) continue;
          const isOpen = open.keys.includes(text) || open.pfx.some((start) => text.indexOf(start) === 0);
          expect(authorise({ ...claims, ...open }, { ...request, key: found.value.key }).ok).toBe(isOpen);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("is still under the prefix when R2 has normalised it", () => {
    fc.assert(
      fc.property(fc.array(prefix, { maxLength: 3 }), key, fc.nat(2), (prefixes, rest, which) => {
        const text = (prefixes[which] ?? "") + rest;
        if (covers({ prefixes, keys: [] }, text)) {
          expect(prefixes.some((start) => storeKey(text).startsWith(start))).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
