import { AwsV4Signer } from "aws4fetch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { webHmac } from "../../workers/adapters/web-hmac.ts";
import { canonicalQuery } from "../../workers/core/sigv4/canonical.ts";
import { formatAmzDate } from "../../workers/core/sigv4/presign.ts";
import { createHeaderSigner, type SignedRequest } from "../../workers/core/sigv4/sign-headers.ts";
import { encodeWireKey } from "../../workers/core/sigv4/wire-key.ts";

const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not/a+secret" };
const options = { ...credentials, region: "eu-central-1" };
const now = Date.UTC(2026, 10, 22, 12, 34, 56);

/** What aws4fetch, which is other people's and used everywhere, has in the header for the same request. */
async function theirs({ method, host, path, query, headers }: SignedRequest, nowMs = now): Promise<string> {
  const signed = Object.entries(headers).filter(([name]) => name.startsWith("x-amz-") || name === "content-md5");
  const { headers: all } = await new AwsV4Signer({
    ...options,
    service: "s3",
    method,
    url: `https://${host}${path}${query === "" ? "" : `?${query}`}`,
    headers: signed,
    datetime: formatAmzDate(nowMs),
  }).sign();
  return all.get("authorization") ?? "";
}

const get: SignedRequest = { method: "GET", host: "s3.example:9000", path: "/bucket/key", query: "", headers: {} };

describe("a request that is signed in a header", () => {
  it.each<[string, Partial<SignedRequest>]>([
    ["of an object", {}],
    ["of a range", { headers: { range: "bytes=0-9", "accept-encoding": "identity" } }],
    ["with checksums", { headers: { "x-amz-checksum-mode": "ENABLED" } }],
    [
      "of a listing",
      { path: "/bucket", query: canonicalQuery({ prefix: "a b/+(ü)", "list-type": "2", "max-keys": "9" }) },
    ],
    ["of a bucket in the host", { path: "/", host: "bucket.s3.amazonaws.com" }],
    ["to put", { method: "PUT", headers: { "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg==", "content-type": "a/b" } }],
    [
      "with metadata",
      { method: "PUT", headers: { "x-amz-meta-b": "two  spaces", "x-amz-meta-a": "=?UTF-8?B?w7w=?=" } },
    ],
    ["that begins an upload", { method: "POST", query: "uploads=" }],
    ["of a part", { method: "PUT", query: canonicalQuery({ uploadId: "a/b+c=", partNumber: "7" }) }],
  ])("is signed as aws4fetch signs it, %s", async (_, request) => {
    const sign = createHeaderSigner(webHmac, options);
    const whole = { ...get, ...request };
    const signed = await sign(whole, now);
    expect(signed["authorization"]).toBe(await theirs(whole));
    expect(signed).toMatchObject({ ...whole.headers, "x-amz-date": "20261122T123456Z" });
  });

  it("is signed as aws4fetch signs it, whatever the key", async () => {
    const sign = createHeaderSigner(webHmac, options);
    const key = fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }).filter((text) => text.isWellFormed());
    // Keys that are nothing but a dot segment are refused before: no escape keeps a URL from losing them.
    const addressable = key.filter((text) => text !== "." && text !== "..");
    await fc.assert(
      fc.asyncProperty(addressable, async (text) => {
        const request = { ...get, path: `/bucket/${encodeWireKey(text)}` };
        expect((await sign(request, now))["authorization"]).toBe(await theirs(request));
      }),
      { numRuns: 300 },
    );
  });

  it("is signed for the slash where the wire has its escape", async () => {
    const sign = createHeaderSigner(webHmac, options);
    const path = `/bucket/${encodeWireKey("a/../b")}`;
    expect(path).toBe("/bucket/a%2F..%2Fb");
    const { authorization } = await sign({ ...get, path }, now);
    expect(authorization).toBe(await theirs({ ...get, path }));
  });

  it("derives its key once a day, also for requests at once", async () => {
    let keys = 0;
    const counting = { ...webHmac, hmacKey: (key: Uint8Array) => (keys++, webHmac.hmacKey(key)) };
    const sign = createHeaderSigner(counting, options);
    await sign(get, now);
    expect(keys).toBe(5);
    for (let i = 0; i < 10; i++) await sign(get, now + i * 1000);
    expect(keys).toBe(5);
    const tomorrow = now + 86_400_000;
    const both = await Promise.all([sign(get, now), sign(get, tomorrow), sign(get, now)]);
    const days = [now, tomorrow, now];
    for (const [i, { authorization }] of both.entries()) expect(authorization).toBe(await theirs(get, days[i]));
  });
});
