import { createHash, randomBytes } from "node:crypto";
import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createClient } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { startFreshInstance } from "./fresh-instance.ts";
import { type RawAnswer, type RawRequest, send } from "./raw-http.ts";
import { storeObject } from "./stored-object.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

interface Stored {
  key: string;
  bytes: Buffer;
}

let instance: Instance;
let root = "";
/** Puts an object that nobody has read. */
let store: (key: string, size: number) => Promise<Stored>;

beforeAll(async () => {
  const fresh = await startFreshInstance({ name: "e2e-read-contract" });
  instance = fresh;
  const admin = createClient(fresh.url, fresh.tokens.admin);
  await admin.call("PUT", "/v1/datasets/wire", { kind: "files", prefix: "wire/", liveTtlSeconds: 3600 });
  root = (await admin.call<{ rootUrl: string }>("POST", "/v1/datasets/wire/capabilities", { prefixes: [""] })).rootUrl;
  store = async (key, size) => {
    const bytes = randomBytes(size);
    await storeObject(fresh, `wire/${key}`, bytes);
    return { key, bytes };
  };
});

afterAll(() => instance?.stop());

const read = ({ key }: Stored, options?: RawRequest) => send(`${root}${key}`, options);
const ranged = (range: string): RawRequest => ({ headers: { range: `bytes=${range}` } });
const STORED = "penstock; fwd=miss; stored";

/** What a client may ask of an object, and the part of it that is owed, as arguments of `subarray`. */
const ASKS: [string, (size: number) => [string, number, number] | null][] = [
  ["the whole", () => null],
  ["its first byte", () => ["0-0", 0, 1]],
  [
    "a range of its middle",
    (size) => [`${size >> 1}-${(size >> 1) + 99}`, size >> 1, Math.min(size, (size >> 1) + 100)],
  ],
  ["a range over blocks", (size) => [`1-${600 * KiB}`, 1, Math.min(size, 600 * KiB + 1)]],
  ["the rest from its middle", (size) => [`${size >> 1}-`, size >> 1, size]],
  ["its last 4 KiB", (size) => ["-4096", Math.max(0, size - 4096), size]],
  ["more than its last", (size) => [`-${size + 1}`, 0, size]],
];

/** The status, the headers that tell lengths, and the bytes: as they were on the wire. */
function expectExact(answer: RawAnswer, { bytes }: Stored, part: [string, number, number] | null): void {
  const [, first, end] = part ?? ["", 0, bytes.length];
  const { status, headers } = answer;
  expect({ status, length: headers["content-length"], range: headers["content-range"] }).toEqual({
    status: part === null ? 200 : 206,
    length: String(end - first),
    range: part === null ? undefined : `bytes ${first}-${end - 1}/${bytes.length}`,
  });
  expect(headers["transfer-encoding"]).toBeUndefined();
  expect(headers.etag).toBe(`"${createHash("md5").update(bytes).digest("hex")}"`);
  expect(headers["server-timing"]).toMatch(/^auth;dur=\d+, resolve;dur=\d+, cache;dur=\d+, r2;dur=\d+/);
  expect(answer.bytes.equals(bytes.subarray(first, end))).toBe(true);
}

describe.each([1, 300 * KiB, MiB, MiB + 1, 3 * MiB + 17, 12 * MiB])("an object of %d bytes", (size) => {
  const satisfiable = ASKS.filter(([, partOf]) => (partOf(size)?.[1] ?? 0) < size);

  it.each(satisfiable)("is exact on the wire when it is missed and when it is hit: %s", async (what, partOf) => {
    const part = partOf(size);
    const object = await store(`exact/${size}/${what.replaceAll(" ", "-")}`, size);
    const options = part === null ? {} : ranged(part[0]);
    const missed = await read(object, options);
    expectExact(missed, object, part);
    const again = await read(object, options);
    expectExact(again, object, part);
    const isStreamed = missed.bytes.length > 8 * MiB;
    const caches = [missed, again].map(({ headers }) => headers["cache-status"]);
    expect(caches).toEqual(isStreamed ? ["penstock; fwd=bypass", "penstock; fwd=bypass"] : [STORED, "penstock; hit"]);
  });

  it("tells its length by HEAD, before and after its bytes were read", async () => {
    const object = await store(`head/${size}`, size);
    for (let time = 0; time < 2; time++) {
      const { status, headers, bytes } = await read(object, { method: "HEAD" });
      expect([status, headers["content-length"], bytes.length]).toEqual([200, String(size), 0]);
      expect(headers["accept-ranges"]).toBe("bytes");
      await read(object);
    }
  });
});

/** Reads until so many bytes have come (0: until the request is out), then tears the connection. */
function leave({ key }: Stored, after: number, headers: Record<string, string> = {}): Promise<number> {
  const { hostname, port, pathname } = new URL(root);
  return new Promise((resolve) => {
    let taken = 0;
    const sent = request({ hostname, port, path: `${pathname}${key}`, headers, agent: false }, (answer) => {
      answer.on("error", () => undefined);
      answer.on("data", (chunk: Buffer) => {
        taken += chunk.length;
        if (taken >= after) sent.destroy();
      });
    });
    sent.on("error", () => undefined);
    sent.once("close", () => resolve(taken));
    sent.end(() => {
      if (after === 0) setTimeout(() => sent.destroy(), 3);
    });
  });
}

describe("a client that leaves", () => {
  it.each<[string, number, number, string | null]>([
    ["before it is answered, a block", 3 * MiB, 0, "300000-300999"],
    ["before it is answered, all of what can be held", 6 * MiB, 0, null],
    ["after some bytes, all of what can be held", 6 * MiB, 1, null],
    ["before it is answered, a stream", 12 * MiB, 0, null],
    ["after some bytes, a stream", 12 * MiB, MiB, null],
  ])("takes nothing from the others, who want the same: %s", async (what, size, after, range) => {
    for (let round = 0; round < 2; round++) {
      const object = await store(`left/${what.replaceAll(/[ ,]+/g, "-")}/${round}`, size);
      const options = range === null ? {} : ranged(range);
      const leaving = leave(object, after, options.headers);
      const answers = await Promise.all(Array.from({ length: 3 }, () => read(object, options)));
      for (const answer of answers) expectExact(answer, object, range === null ? null : [range, 300_000, 301_000]);
      expect(await leaving).toBeLessThan(size);
      expectExact(await read(object, options), object, range === null ? null : [range, 300_000, 301_000]);
    }
  });
});

describe("clients at once", () => {
  it("who want one block of an object that nobody has read have it read once", async () => {
    for (let round = 0; round < 3; round++) {
      const object = await store(`once/${round}`, 3 * MiB);
      const answers = await Promise.all(Array.from({ length: 16 }, () => read(object, ranged("300000-300999"))));
      for (const answer of answers) expectExact(answer, object, ["", 300_000, 301_000]);
      expect(answers.filter(({ headers }) => headers["cache-status"] === STORED)).toHaveLength(1);
    }
  });

  it("who want all sorts of things get them byte for byte, while some of them leave", async () => {
    const sizes = [1, 1000, 300 * KiB, MiB + 1, 3 * MiB + 17, 12 * MiB];
    const objects = await Promise.all(sizes.map((size) => store(`mixed/${size}`, size)));
    const client = async (seed: number): Promise<void> => {
      for (let n = 0; n < 10; n++) {
        const turn = seed * 31 + n * 7;
        const object = objects[turn % objects.length];
        const part = ASKS[(turn >> 1) % ASKS.length]?.[1](object?.bytes.length ?? 0) ?? null;
        if (object === undefined || (part !== null && part[1] >= object.bytes.length)) continue;
        if (turn % 5 === 0) await leave(object, turn % 2);
        else expectExact(await read(object, part === null ? {} : ranged(part[0])), object, part);
      }
    };
    await Promise.all(Array.from({ length: 16 }, (_, seed) => client(seed)));
    for (const object of objects) expectExact(await read(object), object, null);
  });
});
