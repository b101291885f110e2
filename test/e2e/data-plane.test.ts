import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Client, createClient } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { type InstanceSecrets, startFreshInstance } from "./fresh-instance.ts";
import { type RawAnswer, type RawRequest, send } from "./raw-http.ts";
import { storeObject } from "./stored-object.ts";

const KiB = 1024;
/** Before anything is stored. */
const BEGAN = Date.now();
const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex");

interface Stored {
  name: string;
  bytes: Buffer;
  etag: string;
}
const stored = (name: string, size: number): Stored => {
  const bytes = randomBytes(size);
  return { name, bytes, etag: `"${md5(bytes)}"` };
};
/** The last one is beyond what is held for the cache. */
const OBJECTS = [stored("empty", 0), stored("one-byte", 1), stored("chunk", 64 * KiB), stored("shard", 9216 * KiB + 1)];

/** Nothing is remembered of `cold`, so that every read is a first read; all of `warm` was read before. */
const DATASETS = [
  { dataset: "cold", liveTtlSeconds: 0 },
  { dataset: "warm", liveTtlSeconds: 3600 },
];

let instance: Instance & { secrets: InstanceSecrets };
let admin: Client;
const capabilities = new Map<string, string>();

const mint = async (dataset: string, scope: object): Promise<string> => {
  const path = `/v1/datasets/${dataset}/capabilities`;
  return (await admin.call<{ capability: string }>("POST", path, scope)).capability;
};
const capabilityOf = (dataset: string) => capabilities.get(dataset) ?? "";
/** By the path, as every Zarr client can. */
const read = (dataset: string, key: string, options?: RawRequest) =>
  send(`${instance.url}/t/${capabilityOf(dataset)}/${dataset}/${key}`, options);
const register = (dataset: string, more: object = {}) =>
  admin.call("PUT", `/v1/datasets/${dataset}`, { kind: "files", prefix: `${dataset}/`, ...more });

beforeAll(async () => {
  instance = await startFreshInstance({ name: "e2e-data-plane" });
  admin = createClient(instance.url, instance.tokens.admin);
  for (const { dataset, liveTtlSeconds } of DATASETS) {
    await register(dataset, { liveTtlSeconds });
    capabilities.set(dataset, await mint(dataset, { prefixes: [""] }));
    for (const { name, bytes } of OBJECTS) {
      await storeObject(instance, `${dataset}/${name}`, bytes, { "content-type": "application/x-chunk" });
    }
  }
  for (const { name } of OBJECTS) await read("warm", name);
});

afterAll(() => instance?.stop());

/** What the contract has answered: the whole, a part, or that there is none. */
type Expected = { status: 200 | 206 | 304 | 412 | 416; offset?: number; length?: number };
const whole = ({ bytes }: Stored): Expected => ({ status: 200, offset: 0, length: bytes.length });
const part = (object: Stored, offset: number, length: number): Expected =>
  offset >= object.bytes.length || length === 0
    ? { status: 416 }
    : { status: 206, offset, length: Math.min(length, object.bytes.length - offset) };

const LONG_AGO = "Sat, 01 Jan 2000 00:00:00 GMT";
const LATER = "Fri, 01 Jan 2100 00:00:00 GMT";
const OTHER = '"0123456789abcdef0123456789abcdef"';

type Headers = Record<string, string>;
/** [what is asked, its headers, what a GET answers] */
const RANGES: [string, (o: Stored) => Headers, (o: Stored) => Expected][] = [
  ["no Range", () => ({}), whole],
  ["bytes=0-0", () => ({ range: "bytes=0-0" }), (o) => part(o, 0, 1)],
  ["bytes=100-299", () => ({ range: "bytes=100-299" }), (o) => part(o, 100, 200)],
  ["bytes=0-", () => ({ range: "bytes=0-" }), (o) => part(o, 0, o.bytes.length)],
  ["bytes=1-", () => ({ range: "bytes=1-" }), (o) => part(o, 1, o.bytes.length)],
  ["bytes=-1", () => ({ range: "bytes=-1" }), (o) => part(o, Math.max(0, o.bytes.length - 1), 1)],
  ["a suffix longer than the object", () => ({ range: "bytes=-99999999" }), (o) => part(o, 0, o.bytes.length)],
  ["an end past the object", () => ({ range: "bytes=0-99999999" }), (o) => part(o, 0, o.bytes.length)],
  [
    "the exact whole",
    (o) => ({ range: `bytes=0-${o.bytes.length - 1}` }),
    (o) => (o.bytes.length === 0 ? whole(o) : part(o, 0, o.bytes.length)),
  ],
  ["a start past the object", (o) => ({ range: `bytes=${o.bytes.length}-` }), () => ({ status: 416 })],
  ["a suffix of zero", () => ({ range: "bytes=-0" }), () => ({ status: 416 })],
  ["a malformed Range", () => ({ range: "bytes=abc" }), whole],
  ["another unit", () => ({ range: "items=0-1" }), whole],
  ["an end before the start", () => ({ range: "bytes=9-3" }), whole],
  ["several ranges", () => ({ range: "bytes=0-0,2-3" }), whole],
  ["a gzip-accepting client", () => ({ range: "bytes=0-0", "accept-encoding": "gzip, br" }), (o) => part(o, 0, 1)],
  ["a client that asks for no-cache", () => ({ "cache-control": "no-cache" }), whole],
];

/** [what is asked, its headers, what GET and HEAD answer] */
const CONDITIONS: [string, (o: Stored) => Headers, (o: Stored) => Expected][] = [
  ["If-None-Match of its ETag", (o) => ({ "if-none-match": o.etag }), () => ({ status: 304 })],
  ["If-None-Match of its ETag made weak", (o) => ({ "if-none-match": `W/${o.etag}` }), () => ({ status: 304 })],
  ["If-None-Match of any", () => ({ "if-none-match": "*" }), () => ({ status: 304 })],
  [
    "If-None-Match before an unsatisfiable Range",
    (o) => ({ "if-none-match": o.etag, range: "bytes=99999999-" }),
    () => ({ status: 304 }),
  ],
  ["If-None-Match of another", () => ({ "if-none-match": OTHER }), whole],
  ["If-Match of its ETag", (o) => ({ "if-match": o.etag }), whole],
  ["If-Match of another", () => ({ "if-match": OTHER }), () => ({ status: 412 })],
  ["If-Match before a Range", () => ({ "if-match": OTHER, range: "bytes=0-0" }), () => ({ status: 412 })],
  ["If-Unmodified-Since long ago", () => ({ "if-unmodified-since": LONG_AGO }), () => ({ status: 412 })],
  ["If-Unmodified-Since later", () => ({ "if-unmodified-since": LATER }), whole],
  ["If-Modified-Since later", () => ({ "if-modified-since": LATER }), () => ({ status: 304 })],
  ["If-Modified-Since long ago", () => ({ "if-modified-since": LONG_AGO }), whole],
];

/** [what is asked, its headers, what a GET answers] */
const IF_RANGES: [string, (o: Stored) => Headers, (o: Stored) => Expected][] = [
  ["If-Range of its ETag", (o) => ({ "if-range": o.etag, range: "bytes=0-9" }), (o) => part(o, 0, 10)],
  ["If-Range of its ETag made weak", (o) => ({ "if-range": `W/${o.etag}`, range: "bytes=0-9" }), whole],
  ["If-Range of another", () => ({ "if-range": OTHER, range: "bytes=0-9" }), whole],
  ["If-Range of another before an unsatisfiable Range", () => ({ "if-range": OTHER, range: "bytes=99999999-" }), whole],
];

function expectAnswer(answer: RawAnswer, object: Stored, method: "GET" | "HEAD", expected: Expected): void {
  const { status, headers, bytes } = answer;
  const size = object.bytes.length;
  const { offset = 0, length = 0 } = expected;
  expect(status).toBe(expected.status);
  if (status === 412 || status === 416) {
    expect(headers["content-type"]).toBe("application/problem+json");
    expect(headers["cache-control"]).toContain("no-store");
    if (status === 416) expect(headers["content-range"]).toBe(`bytes */${size}`);
    if (status === 416 && method === "GET") expect(bytes.toString()).toContain("not satisfiable");
    return;
  }
  expect(headers.etag).toBe(object.etag);
  expect(headers["accept-ranges"]).toBe("bytes");
  expect(Date.parse(headers["last-modified"] ?? "")).toBeGreaterThanOrEqual(BEGAN - 1000);
  expect(headers["cache-control"]).toContain("no-transform");
  expect(headers["content-encoding"]).toBeUndefined();
  if (status === 304) return expect(bytes).toHaveLength(0);
  expect(headers["content-type"]).toBe("application/x-chunk");
  expect(headers["content-length"]).toBe(String(length));
  const contentRange = `bytes ${offset}-${offset + length - 1}/${size}`;
  expect(headers["content-range"]).toBe(status === 206 ? contentRange : undefined);
  const sent = method === "HEAD" ? Buffer.alloc(0) : object.bytes.subarray(offset, offset + length);
  expect(bytes.equals(sent)).toBe(true);
}

describe.each(DATASETS)("$dataset reads", ({ dataset }) => {
  describe.each(OBJECTS)("of $name", (object) => {
    it.each([...RANGES, ...CONDITIONS, ...IF_RANGES])("answer GET with %s", async (_, headers, expected) => {
      expectAnswer(await read(dataset, object.name, { headers: headers(object) }), object, "GET", expected(object));
    });

    it.each(RANGES)("answer HEAD with the whole's headers whatever the Range: %s", async (_, headers) => {
      const answer = await read(dataset, object.name, { method: "HEAD", headers: headers(object) });
      expectAnswer(answer, object, "HEAD", whole(object));
    });

    it.each(CONDITIONS)("answer HEAD with %s", async (_, headers, expected) => {
      const answer = await read(dataset, object.name, { method: "HEAD", headers: headers(object) });
      expectAnswer(answer, object, "HEAD", expected(object));
    });
  });
});

describe("the cache", () => {
  it.each(OBJECTS.slice(0, 3))("answers the second read of $name, and ranges of it", async (object) => {
    expect((await read("warm", object.name)).headers["cache-status"]).toBe("penstock; hit");
    const range = await read("warm", object.name, { headers: { range: "bytes=0-0" } });
    if (object.bytes.length > 0) expect(range.headers["cache-status"]).toBe("penstock; hit");
  });

  it("does not hold what is larger than 8 MiB", async () => {
    expect((await read("warm", "shard")).headers["cache-status"]).toBe("penstock; fwd=bypass");
  });

  it("never makes up for a missing capability", async () => {
    expect((await send(`${instance.url}/d/warm/chunk`)).status).toBe(401);
  });
});
