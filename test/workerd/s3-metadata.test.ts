import { afterEach, describe, expect, it, vi } from "vitest";
import { createS3Writer } from "../../workers/adapters/s3-writer.ts";
import { expectOk, refused } from "../contract/given.ts";
import { intercept } from "./harness/intercept.ts";
import { text } from "./harness/source.ts";
import { ownSource } from "./harness/own-source.ts";

const { endpoint, region, bucket, accessKeyId, secretAccessKey } = ownSource();
const config = { endpoint, region, bucket, addressing: "path" } as const;
const writer = createS3Writer(config, { accessKeyId, secretAccessKey });
afterEach(() => vi.restoreAllMocks());

let serial = 0;
const newKey = (): string => `s3-metadata/${++serial}`;
const put = (key: string, value: string, more: object = {}) =>
  writer.put(key, text(value), { http: {}, custom: {}, size: text(value).length, ...more });
const isPut = ({ method }: { method: string }): boolean => method === "PUT";

describe("metadata on the wire", () => {
  const headersOf = async (custom: Record<string, string>, http: object = {}) => {
    const wires = intercept();
    const key = newKey();
    const info = expectOk(await put(key, "x", { custom, http }));
    const sent = wires.find(isPut)?.headers ?? new Headers();
    return { sent: Object.fromEntries([...sent].filter(([name]) => name.startsWith("x-amz-meta-"))), info, all: sent };
  };

  it("is US-ASCII as it is, and RFC 2047's encoded words for any other value", async () => {
    const { sent, info } = await headersOf({
      plain: "a value, with = and ; and %20",
      encoded: "=?UTF-8?Q?=C3=A9?=", // as S3 said it
      "": "no name",
      empty: "",
      umlaut: "schön",
      blanks: " a ",
      lines: "a\r\nb",
    });
    expect(sent).toEqual({
      "x-amz-meta-plain": "a value, with = and ; and %20",
      "x-amz-meta-encoded": "=?UTF-8?Q?=C3=A9?=",
      "x-amz-meta-": "no name",
      "x-amz-meta-empty": "",
      "x-amz-meta-umlaut": "=?UTF-8?B?c2Now7Zu?=",
      "x-amz-meta-blanks": "=?UTF-8?B?IGEg?=",
      "x-amz-meta-lines": "=?UTF-8?B?YQ0KYg==?=",
    });
    expect(info.custom["umlaut"]).toBe("=?UTF-8?B?c2Now7Zu?=");
  });

  it("has words of at most 75 characters, none of which ends within a character", async () => {
    const value = "日本語😀é".repeat(40);
    const { sent } = await headersOf({ long: value });
    const words = (sent["x-amz-meta-long"] ?? "").split(" ");
    expect(Math.max(...words.map(({ length }) => length))).toBeLessThanOrEqual(75);
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    const decoded = words.map((word) =>
      decoder.decode(Uint8Array.fromBase64(/^=\?UTF-8\?B\?(.*)\?=$/.exec(word)?.[1] ?? "")),
    );
    expect(decoded.join("")).toBe(value);
  });

  it("has names in lower case, other bytes of them percent-encoded, and values of one name joined", async () => {
    const { sent } = await headersOf({ "Höhe (m)": "1", Twice: "a", twice: "b" });
    expect(sent).toEqual({ "x-amz-meta-h%c3%b6he%20%28m%29": "1", "x-amz-meta-twice": "a, b" });
  });

  it("of HTTP is carried in full, and has no line breaks", async () => {
    const http = {
      contentType: "application/x\r\nx-amz-acl: public-read",
      contentEncoding: "zstd",
      contentLanguage: "de-CH",
      contentDisposition: 'attachment; filename="schön.json"',
      cacheControl: "max-age=60",
      expires: Date.UTC(2030, 0, 2, 3, 4, 5),
    };
    const { info, all } = await headersOf({}, http);
    expect(info.http).toEqual({ ...http, contentType: "application/x  x-amz-acl: public-read" });
    expect(all.get("x-amz-acl")).toBeNull();
    expect(all.get("x-amz-content-sha256")).toBe("UNSIGNED-PAYLOAD");
    expect([...all.keys()].filter((name) => name.startsWith("x-amz-checksum"))).toEqual([]);
  });

  it("too large for any store is not sent", async () => {
    const wires = intercept();
    const custom = { key: "é".repeat(3500) }; // 7,000 bytes, and more as they are sent
    expect(await put(newKey(), "x", { custom })).toMatchObject(refused("metadata-too-large"));
    expect(await writer.createUpload(newKey(), { http: {}, custom })).toMatchObject(refused("metadata-too-large"));
    expect(wires).toEqual([]);
  });
});
