import { AwsClient } from "aws4fetch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { hkdf, sha256Hex, timingSafeEqual, webHmac } from "../../workers/adapters/web-hmac.ts";
import { toHex } from "../../workers/core/sigv4/hmac.ts";
import { absorb, BLOCK, digestInto, EMPTY, hmacStates, PADDING, viewOf } from "../../workers/core/sigv4/sha256.ts";
import { createPresigner, formatAmzDate, type PresignRequest } from "../../workers/core/sigv4/presign.ts";

// AWS's documented example credentials, in pieces so that no scanner takes them for real ones.
const accessKeyId = "AKIA" + "IOSFODNN7" + "EXAMPLE";
const secretAccessKey = "wJalrXUtnFEMI/" + "K7MDENG/bPxRfiCY" + "EXAMPLEKEY";
const credentials = { accessKeyId, secretAccessKey };
const now = Date.UTC(2013, 4, 24);
const utf8 = (text: string) => new TextEncoder().encode(text);

const r2 = {
  ...credentials,
  endpoint: "https://acc.r2.cloudflarestorage.com",
  region: "auto",
  addressing: "path",
} as const;
const local = { ...r2, endpoint: "http://127.0.0.1:8787/cdn-cgi/local/r2/s3/" } as const;
const aws = {
  ...credentials,
  endpoint: "https://s3.amazonaws.com",
  region: "us-east-1",
  addressing: "virtual",
} as const;

async function presign(options: typeof r2 | typeof local | typeof aws, request: Partial<PresignRequest>) {
  const signer = await createPresigner(webHmac, options, now);
  return signer({ method: "GET", bucket: "data", key: "x", expiresSeconds: 60, ...request });
}

async function url(options: typeof r2 | typeof local | typeof aws, request: Partial<PresignRequest>): Promise<string> {
  const result = await presign(options, request);
  if (!result.ok) throw new Error(result.failure.detail);
  return result.value;
}

describe("a presigned URL", () => {
  it("has the signature of AWS's documented example", async () => {
    const signed = await url(aws, { bucket: "examplebucket", key: "test.txt", expiresSeconds: 86_400 });
    expect(signed).toBe(
      "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
        `&X-Amz-Credential=${accessKeyId}%2F20130524%2Fus-east-1%2Fs3%2Faws4_request` +
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    );
  });

  it("needs no WebCrypto of its own: that derives the key once, for as many URLs as like", async () => {
    const calls = { sha256: 0, keys: 0, signatures: 0 };
    const counting: typeof webHmac = {
      sha256: (data) => (calls.sha256++, webHmac.sha256(data)),
      hmacKey: async (key) => {
        calls.keys++;
        const sign = await webHmac.hmacKey(key);
        return (data) => (calls.signatures++, sign(data));
      },
    };
    const signer = await createPresigner(counting, r2, now);
    const before = { ...calls };
    for (let n = 0; n < 10; n++) signer({ method: "GET", bucket: "b", key: `k${n}`, expiresSeconds: 60 });
    expect(before).toEqual({ sha256: 0, keys: 4, signatures: 4 });
    expect(calls).toEqual(before);
  });

  it("keeps slashes, and escapes all else but the unreserved characters, once", async () => {
    const signed = await url(r2, { key: "a b/c+d/é!'()*/%2F/~-_.=&?#:/" });
    expect(new URL(signed).pathname).toBe("/data/a%20b/c%2Bd/%C3%A9%21%27%28%29%2A/%252F/~-_.%3D%26%3F%23%3A/");
  });

  it.each([
    ["a/../x", "/data/a%2F..%2Fx"],
    ["a/./x", "/data/a%2F.%2Fx"],
    ["../x", "/data/..%2Fx"],
    ["a/..", "/data/a%2F.."],
    ["a//../b", "/data/a/%2F..%2Fb"],
    ["a//b", "/data/a//b"],
    ["/a", "/data//a"],
    ["/", "/data//"],
    ["a/", "/data/a/"],
    ["a/...", "/data/a/..."],
    ["%2e%2e/x", "/data/%252e%252e/x"],
  ])("of the key %j goes over the wire as %s, which no URL parser rewrites", async (key, path) => {
    const signed = await url(r2, { key });
    expect(signed).toContain(`cloudflarestorage.com${path}?`);
    expect(new URL(signed).href).toBe(signed);
  });

  it("signs the endpoint's own path, and takes no slash at its end for a part of it", async () => {
    expect(await url(local, {})).toContain("http://127.0.0.1:8787/cdn-cgi/local/r2/s3/data/x?");
  });

  it("signs headers in lower case, trimmed and sorted, and always the host it goes to", async () => {
    const headers = { "If-None-Match": " * ", "Content-Type": "text/plain;  charset=utf-8", HOST: "evil.example" };
    const signed = await url(r2, { method: "PUT", headers });
    expect(new URL(signed).searchParams.get("X-Amz-SignedHeaders")).toBe("content-type;host;if-none-match");
    const tidy = { "content-type": "text/plain; charset=utf-8", "if-none-match": "*" };
    expect(await url(r2, { method: "PUT", headers: tidy })).toBe(signed);
  });

  it("is the same whatever was signed before it: by another method, for another bucket, with other headers or a longer key", async () => {
    const all: PresignRequest[] = [
      { method: "GET", bucket: "data", key: "x", expiresSeconds: 60 },
      { method: "HEAD", bucket: "data", key: "x", expiresSeconds: 60 },
      { method: "GET", bucket: "other", key: "x", expiresSeconds: 60 },
      { method: "GET", bucket: "data", key: "x", expiresSeconds: 61 },
      { method: "GET", bucket: "data", key: "é".repeat(512), expiresSeconds: 60 },
      { method: "GET", bucket: "data", key: "x", expiresSeconds: 60, headers: { "if-match": '"a"' } },
      { method: "GET", bucket: "data", key: "x", expiresSeconds: 60, headers: { "If-Match": '"b"' } },
      { method: "PUT", bucket: "data", key: "x", expiresSeconds: 60, headers: { "x-amz-meta-a": "ü".repeat(2000) } },
      { method: "PUT", bucket: "data", key: "x", expiresSeconds: 60, query: { uploadId: "u", partNumber: "1" } },
      { method: "PUT", bucket: "data", key: "x", expiresSeconds: 60, query: { uploadId: "u", partNumber: "2" } },
    ];
    const alone = await Promise.all(all.map((request) => url(r2, request)));
    expect(new Set(alone).size).toBe(all.length);
    const signer = await createPresigner(webHmac, r2, now);
    for (const order of [all, all.toReversed(), [...all, ...all]]) {
      const expected = order.map((request) => ({ ok: true, value: alone[all.indexOf(request)] }));
      expect(order.map((request) => signer(request))).toEqual(expected);
    }
  });

  it("carries further parameters, signed and in their order", async () => {
    const signed = await url(r2, { method: "PUT", query: { uploadId: "a/b+c", partNumber: "7" } });
    expect(signed).toMatch(/X-Amz-SignedHeaders=host&partNumber=7&uploadId=a%2Fb%2Bc&X-Amz-Signature=[0-9a-f]{64}$/);
  });

  it.each([0, -1, 1.5, 604_801, Number.NaN, Infinity])("is refused a life of %d seconds", async (expiresSeconds) => {
    expect(await presign(r2, { expiresSeconds })).toMatchObject({
      ok: false,
      failure: { code: "invalid-body", field: "expiresSeconds" },
    });
  });

  it.each([
    ["an empty key, which is the bucket itself", { key: "" }, "invalid-key"],
    ["a key with half a surrogate pair", { key: "a\ud800" }, "invalid-key"],
    ["the key ..", { key: ".." }, "unaddressable-key"],
    ["the key .", { key: "." }, "unaddressable-key"],
    ["a parameter of the signature's own", { query: { "x-amz-signature": "0" } }, "invalid-query"],
    ["a parameter with half a surrogate pair", { query: { a: "\udfff" } }, "invalid-query"],
    ["a pair split between a parameter and its value", { query: { "\ud83d": "\ude00" } }, "invalid-query"],
  ])("is refused for %s", async (_, request, code) => {
    expect(await presign(r2, request)).toMatchObject({ ok: false, failure: { code } });
  });

  it.each(["", "r2", "ftp://host", "https://host/a%2Fb"])("is refused when the endpoint is %j", async (endpoint) => {
    const signer = await createPresigner(webHmac, { ...r2, endpoint }, now);
    const result = signer({ method: "GET", bucket: "b", key: "k", expiresSeconds: 60 });
    expect(result).toMatchObject({ ok: false, failure: { code: "misconfigured" } });
  });
});

describe("beside aws4fetch", () => {
  const key = fc
    .oneof(
      fc.string({ unit: "binary", minLength: 1 }),
      fc
        .array(fc.constantFrom("a", "/", ".", "..", "//", "+", " ", "%2F", "=", "é", "?", "'", "*"), { minLength: 1 })
        .map((p) => p.join("")),
    )
    .filter((text) => text !== "." && text !== "..");
  const value = fc.string({ unit: fc.constantFrom("a", "Z", "0", " ", "  ", ";", ":", "/", "*", '"', "=") });
  const name = fc.constantFrom(
    "Content-Type",
    "content-length",
    "If-None-Match",
    "x-amz-meta-b",
    "X-Amz-Meta-A",
    "range",
  );
  const request = fc.record({
    method: fc.constantFrom("GET", "HEAD", "PUT", "DELETE"),
    key,
    headers: fc.dictionary(name, value),
    query: fc.dictionary(fc.constantFrom("partNumber", "uploadId", "response-content-type", "a", "a-b"), fc.string()),
    expiresSeconds: fc.integer({ min: 1, max: 604_800 }),
  });

  it.each([r2, local, aws])("every signature for $endpoint is the same", async (options) => {
    const client = new AwsClient({ ...credentials, region: options.region, service: "s3" });
    const { protocol, host, pathname } = new URL(options.endpoint);
    const root = options.addressing === "path" ? `${host}${pathname.replace(/\/$/, "")}/data/` : `data.${host}/`;
    await fc.assert(
      fc.asyncProperty(request, async ({ headers, query, ...rest }) => {
        const ours = await url(options, { ...rest, headers, query });
        const target = new URL(`${protocol}//${root}${encodeURIComponent(rest.key)}`);
        for (const [param, text] of Object.entries(query)) target.searchParams.set(param, text);
        target.searchParams.set("X-Amz-Expires", String(rest.expiresSeconds));
        const theirs = await client.sign(target.href, {
          method: rest.method,
          headers,
          aws: { signQuery: true, datetime: formatAmzDate(now), allHeaders: true },
        });
        expect(Object.fromEntries(new URL(ours).searchParams)).toEqual(
          Object.fromEntries(new URL(theirs.url).searchParams),
        );
        expect(decodeURIComponent(new URL(ours).pathname)).toBe(decodeURIComponent(target.pathname));
      }),
      { numRuns: 300 },
    );
  });
});

describe("SHA-256 at once", () => {
  const hashed = (before: typeof EMPTY, message: Uint8Array): string => {
    const buffer = new Uint8Array(message.length + PADDING).fill(0xff);
    buffer.set(message);
    const words = new Int32Array(8);
    digestInto(words, before, viewOf(buffer), message.length);
    const digest = new Uint8Array(32);
    for (const [at, word] of words.entries()) viewOf(digest).setInt32(at * 4, word);
    return toHex(digest);
  };

  it.each([
    ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    [
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ],
  ])("of %j is what FIPS 180-4 says", (text, digest) => expect(hashed(EMPTY, utf8(text))).toBe(digest));

  it("is WebCrypto's at every length around a block's end, whatever part of it was hashed before", async () => {
    for (let length = 0; length <= 200; length++) {
      const message = Uint8Array.from({ length }, (_, at) => (at * 7 + length) % 256);
      const expected = toHex(await webHmac.sha256(message));
      for (let whole = 0; whole <= length; whole += BLOCK) {
        expect(hashed(absorb(EMPTY, message.subarray(0, whole)), message.subarray(whole))).toBe(expected);
      }
    }
  });

  const fromHex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));

  it("is HMAC under any key of 32 bytes", async () => {
    const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    await fc.assert(
      fc.asyncProperty(bytes(32), fc.uint8Array({ maxLength: 300 }), async (key, message) => {
        const { inner, outer } = hmacStates(key);
        const sign = await webHmac.hmacKey(key);
        expect(hashed(outer, fromHex(hashed(inner, message)))).toBe(toHex(await sign(message)));
      }),
      { numRuns: 200 },
    );
  });
});

describe("formatAmzDate", () => {
  it("agrees with Date from the year 0 to the year 9999", () => {
    fc.assert(
      fc.property(fc.integer({ min: Date.UTC(0, 0) - 1900 * 31_556_952_000, max: Date.UTC(9999, 11, 31) }), (ms) => {
        expect(formatAmzDate(ms)).toBe(new Date(ms).toISOString().replace(/[:-]|\.\d{3}/g, ""));
      }),
      { numRuns: 2000 },
    );
  });

  it("knows the leap days of 2000 and 2024, and that 2100 has none", () => {
    expect(formatAmzDate(Date.UTC(2000, 1, 29, 23, 59, 59, 999))).toBe("20000229T235959Z");
    expect(formatAmzDate(Date.UTC(2024, 1, 29))).toBe("20240229T000000Z");
    expect(formatAmzDate(Date.UTC(2100, 1, 28) + 86_400_000)).toBe("21000301T000000Z");
  });
});

describe("WebCrypto", () => {
  it("hashes as FIPS 180-4 says", async () => {
    expect(await sha256Hex("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  });

  it("signs as RFC 4231, case 2, says", async () => {
    const sign = await webHmac.hmacKey(utf8("Jefe"));
    const mac = toHex(await sign(utf8("what do ya want for nothing?")));
    expect(mac).toBe("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  });

  it("derives as RFC 5869, case 3, says", async () => {
    const derived = toHex(await hkdf(new Uint8Array(22).fill(0x0b), ""));
    expect(derived).toBe("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
  });

  it("finds digests equal when every byte is", () => {
    const digest = new Uint8Array(32).fill(7);
    expect(timingSafeEqual(digest, digest.slice())).toBe(true);
    for (const at of digest.keys()) expect(timingSafeEqual(digest, digest.with(at, 8))).toBe(false);
    expect(timingSafeEqual(digest, digest.slice(1))).toBe(false);
    expect(timingSafeEqual(digest.slice(1), digest)).toBe(false);
  });
});
