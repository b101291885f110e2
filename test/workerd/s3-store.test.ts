import { afterEach, describe, expect, it, vi } from "vitest";
import { crc64Of, sha256Of } from "../../workers/adapters/digest.ts";
import { createS3Store } from "../../workers/adapters/s3-store.ts";
import { expectOk, refused } from "../contract/given.ts";
import { intercept, withHeaders } from "./harness/intercept.ts";
import { bytesOf, fill, text } from "./harness/source.ts";
import { ownSource } from "./harness/own-source.ts";

const { endpoint, region, bucket, accessKeyId, secretAccessKey } = ownSource();
const config = { endpoint, region, bucket, addressing: "path" } as const;
const store = createS3Store(config, { accessKeyId, secretAccessKey });
afterEach(() => vi.restoreAllMocks());

const base64 = (hex: string): string => Uint8Array.fromHex(hex).toBase64();

describe("checksums of a source", () => {
  const bytes = bytesOf(1000, 1);
  const key = "s3-store-checksums/object";
  const given = async (said: Readonly<Record<string, string | null>>) => {
    await fill("s3-store-checksums/", new Map([["object", bytes]]));
    return intercept((_wire, pass) => withHeaders(pass(), said));
  };

  it("are asked for, and told, where they are wanted: the SHA-256 in hex, the CRC-64/NVME as S3 says it", async () => {
    const [sha256, crc64nvme] = [await sha256Of(bytes), await crc64Of(bytes)];
    const wires = await given({
      "x-amz-checksum-type": "FULL_OBJECT",
      "x-amz-checksum-sha256": base64(sha256),
      "x-amz-checksum-crc64nvme": crc64nvme,
    });
    expect(expectOk(await store.head(key, { checksums: true })).checksums).toEqual({ sha256, crc64nvme });
    const got = expectOk(await store.get(key, { checksums: true }));
    await got.body.cancel();
    expect(got.checksums).toEqual({ sha256, crc64nvme });
    expect(wires.map(({ headers }) => headers.get("x-amz-checksum-mode"))).toEqual(["ENABLED", "ENABLED"]);
  });

  it("are neither asked for nor told otherwise, nor of a range, which may be a part with a checksum of its own", async () => {
    const wires = await given({ "x-amz-checksum-crc64nvme": await crc64Of(bytes) });
    expect(expectOk(await store.head(key))).not.toHaveProperty("checksums");
    for (const options of [{}, { checksums: true, range: { kind: "from", start: 1 } as const }]) {
      const got = expectOk(await store.get(key, options));
      await got.body.cancel();
      expect(got).not.toHaveProperty("checksums");
    }
    expect(wires.map(({ headers }) => headers.get("x-amz-checksum-mode"))).toEqual([null, null, null]);
  });

  it("are of the bytes also where the object is encrypted so that its ETag says nothing", async () => {
    const crc64nvme = await crc64Of(bytes);
    for (const encryption of [
      { "x-amz-server-side-encryption": "aws:kms" },
      { "x-amz-server-side-encryption": "aws:kms:dsse" },
      { "x-amz-server-side-encryption-customer-algorithm": "AES256" },
    ]) {
      await given({ ...encryption, "x-amz-checksum-crc64nvme": crc64nvme });
      const info = expectOk(await store.head(key, { checksums: true }));
      expect(info).toMatchObject({ md5: null, encrypted: true, checksums: { crc64nvme } });
      vi.restoreAllMocks();
    }
    await given({ "x-amz-server-side-encryption": "AES256" });
    expect(expectOk(await store.head(key))).not.toHaveProperty("encrypted");
  });

  const CRC = "rosUhgp5mIg=";
  it.each<[string, Record<string, string>, boolean]>([
    ["a full object's", { "x-amz-checksum-type": "FULL_OBJECT", "x-amz-checksum-crc64nvme": CRC }, true],
    ["one put's without a type", { "x-amz-checksum-crc64nvme": CRC }, true],
    ["parts' without a type", { etag: '"0123456789abcdef0123456789abcdef-2"', "x-amz-checksum-crc64nvme": CRC }, false],
    ["a composite one", { "x-amz-checksum-type": "COMPOSITE", "x-amz-checksum-crc64nvme": CRC }, false],
    ["a composite value", { "x-amz-checksum-crc64nvme": `${CRC}-2` }, false],
    ["no eight bytes", { "x-amz-checksum-crc64nvme": "AAAA" }, false],
    ["of another kind", { "x-amz-checksum-crc32": "AAAAAA==" }, false],
  ])("%s are believed: %j, %s", async (_what, said, isBelieved) => {
    await given(said);
    const info = expectOk(await store.head(key, { checksums: true }));
    expect(info.checksums).toEqual(isBelieved ? { crc64nvme: CRC } : undefined);
  });
});

describe("a listing of a source", () => {
  const page = (entries: string, more: string): Response =>
    new Response(`<ListBucketResult><EncodingType>url</EncodingType>${entries}${more}</ListBucketResult>`);
  const entry = (key: string, inside = "<Size>1</Size><ETag>e</ETag>") =>
    `<Contents><Key>${key}</Key>${inside}</Contents>`;
  const MORE = "<IsTruncated>true</IsTruncated>";
  const END = "<IsTruncated>false</IsTruncated>";
  const token = (n: number) => `<NextContinuationToken>token-${n}</NextContinuationToken>`;
  const list = (after: string | null = null) => store.list({ prefix: "", after });

  it("with truncated pages that name no key is followed by its tokens", async () => {
    let pages = 0;
    const wires = intercept(() => {
      pages++;
      return pages <= 10 ? page("", MORE + token(pages)) : page(entry("k"), MORE + token(99));
    });
    const listed = expectOk(await list("a"));
    expect(listed).toMatchObject({ objects: [{ key: "k" }], next: "k" });
    expect(wires.map(({ query }) => query.get("continuation-token"))).toEqual([
      null,
      ...Array.from({ length: 10 }, (_, n) => `token-${n + 1}`),
    ]);
  });

  it("is given up after ten such pages, and at once where there is no token to follow", async () => {
    const wires = intercept((_wire, _pass) => page("", MORE + token(1)));
    expect(await list()).toMatchObject(refused("source-bad-answer"));
    expect(wires).toHaveLength(11);
    vi.restoreAllMocks();
    const once = intercept(() => page("", MORE));
    expect(await list()).toMatchObject(refused("source-bad-answer"));
    expect(once).toHaveLength(1);
  });

  it("names entries that cannot be copied, of every page that it went over, and resumes after the last key", async () => {
    let pages = 0;
    intercept(() =>
      pages++ === 0
        ? page(entry("%ff"), MORE + token(1))
        : page(entry("b") + entry("c", "<Size>1</Size>"), MORE + token(2)),
    );
    expect(expectOk(await list())).toEqual({
      objects: [{ key: "b", size: 1, etag: "e", lastModified: 0 }],
      malformed: [
        { key: "%ff", detail: expect.any(String) as string },
        { key: "c", detail: expect.stringContaining("ETag") as string },
      ],
      next: "c",
    });
  });

  it.each([
    ["descend", [entry("b"), entry("a")], null],
    ["descend to one that cannot be copied", [entry("b"), entry("a", "")], null],
    ["are twice the same", [entry("b"), entry("b")], null],
    ["are not after where it begins", [entry("b")], "b"],
  ])("is refused where its keys %s", async (_what, entries, after) => {
    intercept(() => page(entries.join(""), END));
    expect(await list(after)).toMatchObject(refused("source-bad-answer"));
  });
});

describe("the prefixes of a source", () => {
  const root = "s3-store-prefixes/";
  const given = () =>
    fill(
      root,
      new Map(["a", "a/1", "a/b/2", "a0", "a0/3", "b/1", "é/1", "z//1", "+ %/1"].map((key) => [key, text(key)])),
    );
  const prefixes = async (prefix: string, after: string | null = null) =>
    expectOk(await store.prefixes({ prefix: root + prefix, after: after === null ? null : root + after })).map(
      (found) => found.slice(root.length),
    );

  it("are what its keys begin with up to the next slash, ascending", async () => {
    await given();
    expect(await prefixes("")).toEqual(["+ %/", "a/", "a0/", "b/", "z/", "é/"]);
    expect(await prefixes("a/")).toEqual(["a/b/"]);
    expect(await prefixes("z/")).toEqual(["z//"]);
    expect(await prefixes("b/")).toEqual([]);
    expect(await prefixes("none/")).toEqual([]);
  });

  it("are those after one, without it and what is under it, and without any that is just beside it", async () => {
    await given();
    expect(await prefixes("", "a/")).toEqual(["a0/", "b/", "z/", "é/"]);
    expect(await prefixes("", "a0/")).toEqual(["b/", "z/", "é/"]);
    expect(await prefixes("", "é/")).toEqual([]);
    expect(await prefixes("a/", "a/b/")).toEqual([]);
  });

  it("are those after a key, where that is none of them", async () => {
    await given();
    expect(await prefixes("", "a")).toEqual(["a/", "a0/", "b/", "z/", "é/"]);
    expect(await prefixes("", "a/1")).toEqual(["a0/", "b/", "z/", "é/"]);
    expect(await prefixes("", "a/b/")).toEqual(["a0/", "b/", "z/", "é/"]);
    // The prefix that is asked below is no prefix that was told.
    expect(await prefixes("", "")).toEqual(["+ %/", "a/", "a0/", "b/", "z/", "é/"]);
    expect(await prefixes("a/", "a/")).toEqual(["a/b/"]);
  });
});
