import { AwsClient } from "aws4fetch";
import { beforeAll, describe, expect, test } from "vitest";
import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { createS3Store } from "../../workers/adapters/s3-store.ts";
import { encodeRfc3986 } from "../../workers/core/sigv4/wire-key.ts";
import type { Metadata } from "../../workers/ports/object-store.ts";
import { putMultipart, putObject } from "../sources/put-multipart.ts";
import { expectOk, type Given, pattern, refused } from "./given.ts";
import { describeObjectReader } from "./object-store.ts";
import { ownSource } from "../workerd/harness/own-source.ts";

const source = ownSource();
const { endpoint, region, bucket, accessKeyId, secretAccessKey } = source;
const credentials = { accessKeyId, secretAccessKey };
const config = { endpoint, region, bucket, addressing: "path" } as const;
const client = new AwsClient({ ...credentials, region, service: "s3", retries: 3 });
const urlOf = (key: string) => `${endpoint}/${bucket}/${key.split("/").map(encodeRfc3986).join("/")}`;

/** Metadata as an S3 client sends it. */
function headersOf({ http = {}, custom = {} }: Partial<Metadata> = {}): Record<string, string> {
  const { contentType, contentEncoding, contentLanguage, contentDisposition, cacheControl, expires } = http;
  const headers = {
    "content-type": contentType,
    "content-encoding": contentEncoding,
    "content-language": contentLanguage,
    "content-disposition": contentDisposition,
    "cache-control": cacheControl,
    expires: expires === undefined ? undefined : new Date(expires).toUTCString(),
    ...Object.fromEntries(Object.entries(custom).map(([name, value]) => [`x-amz-meta-${name}`, value])),
  };
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

async function give(objects: readonly Given[]): Promise<void> {
  await forEachLimited(objects, 6, async ({ key, bytes, metadata }) => {
    await putObject(client, urlOf(key), bytes, headersOf(metadata));
  });
}

// Miniflare's S3 endpoint (5.20261102): 403 for a key with dot segments beside a slash, 404 for one with a line feed, and
// what is stored with "Content-Encoding: gzip" goes out in gzip twice and without a length.
describeObjectReader("the S3 store", () => ({ reader: createS3Store(config, credentials), give }), {
  refusesDotSegments: true,
  cannotHold: ["line\nfeed"],
  encodesTwice: true,
});

describe("an S3 source", () => {
  const store = createS3Store(config, credentials);

  describe("with an object that was uploaded in parts", () => {
    const bytes = pattern(5 * 1024 * 1024 + 1);
    let etag = "";
    beforeAll(async () => {
      etag = await putMultipart(client, urlOf("s3/parts"), bytes, 5 * 1024 * 1024, { "content-type": "x/y" });
    });

    test("lists and heads its multipart ETag, which is no MD5 of the bytes", async () => {
      expect(etag).toMatch(/^[0-9a-f]{32}-2$/);
      expect(expectOk(await store.head("s3/parts"))).toMatchObject({ size: bytes.length, etag, md5: null });
      const { objects } = expectOk(await store.list({ prefix: "s3/parts", after: null }));
      expect(objects).toMatchObject([{ key: "s3/parts", etag }]);
    });

    test("does not tell its first part where the server does not know how", async () => {
      expect(await store.firstPart("s3/parts")).toEqual({ ok: true, value: null });
    });
  });

  test("that refuses the secret is source-bad-credentials, whatever is asked", async () => {
    const wrong = createS3Store(config, { accessKeyId, secretAccessKey: "wrong" });
    await give([{ key: "s3/there", bytes: pattern(1) }]);
    expect(await wrong.list({ prefix: "", after: null })).toMatchObject(refused("source-bad-credentials"));
    expect(await wrong.get("s3/there")).toMatchObject(refused("source-bad-credentials"));
  });

  test("without the bucket is source-no-bucket, also where an object is read", async () => {
    const elsewhere = createS3Store({ ...config, bucket: "no-such-bucket" }, credentials);
    expect(await elsewhere.list({ prefix: "", after: null })).toMatchObject(refused("source-no-bucket"));
    expect(await elsewhere.get("x")).toMatchObject(refused("source-no-bucket"));
  });

  test("whose 404 is not S3's, but that of what stands before it, has no missing object", async () => {
    // Miniflare's router answers "404 Not Found" in plain text for a key with a line feed.
    expect(await store.get("s3/line\nfeed")).toMatchObject(refused("source-bad-answer"));
  });

  test.each([".", ".."])("has no URL for the key %j, and is not asked for it", async (key) => {
    expect(await store.get(key)).toMatchObject(refused("unaddressable-key"));
    expect(await store.head(key)).toMatchObject(refused("unaddressable-key"));
    expect(await store.firstPart(key)).toMatchObject(refused("unaddressable-key"));
  });

  test("that nobody answers for is source-unreachable", async () => {
    const nowhere = createS3Store({ ...config, endpoint: "http://127.0.0.1:1" }, credentials);
    expect(await nowhere.head("x")).toMatchObject(refused("source-unreachable"));
  });
});
