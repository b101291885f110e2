import { beforeAll, describe, expect, it } from "vitest";
import { BLOCK_BYTES, HELD_MAX_BYTES, SINGLE_BLOCK_MAX_BYTES, TAIL_BYTES } from "../../workers/core/limits.ts";
import { type Answer, type Ask, createDataset, DOORS, sameBytes, seal, startIsolate } from "./harness/reading.ts";
import type { Reading, Stored, TestDataset } from "./harness/reading.ts";
import { type Case, conditionsOf, type Owed, rangesOf } from "./harness/plain-answer.ts";
import { bytesOf } from "./harness/source.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

const MiB = 1024 * 1024;

/** Everything at which an object is read in another way, and a byte to each side. */
const SIZES = [
  ...[0, 1],
  ...[TAIL_BYTES - 1, TAIL_BYTES, TAIL_BYTES + 1],
  ...[BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1],
  ...[SINGLE_BLOCK_MAX_BYTES - 1, SINGLE_BLOCK_MAX_BYTES, SINGLE_BLOCK_MAX_BYTES + 1],
  ...[5 * BLOCK_BYTES + TAIL_BYTES + 1, 3 * MiB + 17],
  ...[HELD_MAX_BYTES, HELD_MAX_BYTES + 1],
];

let dataset: TestDataset;
const stored = new Map<number, Stored>();
const storedOf = (size: number): Stored => stored.get(size) ?? { key: "", bytes: new Uint8Array(), etag: "" };
/** R2's object under names that nobody has read: `1000~7` is `1000`. */
const { bucket } = watchBucket({ alias: (key) => key.replace(/~\d+$/, "") });
let named = 0;

beforeAll(async () => {
  dataset = await createDataset("matrix");
  const random = bytesOf(HELD_MAX_BYTES + 100, 1);
  for (const size of SIZES) {
    const bytes = random.subarray(size % 97, (size % 97) + size);
    stored.set(size, await dataset.put(String(size), bytes, { httpMetadata: { contentType: "application/x-chunk" } }));
  }
});

type Told = string | number | boolean | null;

/** What of an answer is not as the contract owes it. */
function wrongs(answer: Answer, object: Stored, { owed, headers: asked }: Case, ask: Ask): string[] {
  const { method = "GET", version = "live" } = ask;
  const { status, headers, bytes } = answer;
  const size = object.bytes.length;
  const due = dueTo(owed, size, method);
  const wrong: string[] = [];
  const check = (what: string, is: Told, owes: Told) => {
    if (is !== owes) wrong.push(`${method} ${version} ${JSON.stringify(asked)}: ${what} is ${is}, owed is ${owes}`);
  };
  check("the status", status, due.status);
  check("Accept-Ranges", headers.get("accept-ranges"), "bytes");
  check("Server-Timing", TIMING.test(headers.get("server-timing") ?? ""), true);
  if (due.status === 416 || due.status === 412) {
    check("Cache-Control", headers.get("cache-control"), "no-store, no-transform");
    check("Content-Range", headers.get("content-range"), due.status === 416 ? `bytes */${size}` : null);
    check("the text", new TextDecoder().decode(bytes).includes("not satisfiable"), due.status === 416);
    return wrong;
  }
  const caching = version === "live" ? "no-cache" : "max-age=31536000, immutable";
  check("Cache-Control", headers.get("cache-control"), `private, ${caching}, no-transform`);
  check("ETag", headers.get("etag"), `"${object.etag}"`);
  check("Last-Modified", isRecent(Date.parse(headers.get("last-modified") ?? "")), true);
  check("Content-Encoding", headers.get("content-encoding"), null);
  if (due.status === 304) {
    check("the body", bytes.length, 0);
    return wrong;
  }
  check("Content-Type", headers.get("content-type"), "application/x-chunk");
  check("Content-Length", headers.get("content-length"), String(due.last - due.first + 1));
  const contentRange = due.status === 206 ? `bytes ${due.first}-${due.last}/${size}` : null;
  check("Content-Range", headers.get("content-range"), contentRange);
  const sent = method === "HEAD" ? new Uint8Array() : object.bytes.subarray(due.first, due.last + 1);
  check("the bytes", sameBytes(bytes, sent), true);
  return wrong;
}
/** Stored since these tests began, by a clock of whole seconds. */
const isRecent = (at: number): boolean => at >= BEGAN - 1000 && at <= Date.now() + 1000;
const BEGAN = Date.now();
const TIMING = /^auth;dur=\d+, resolve;dur=\d+, cache;dur=\d+, r2;dur=\d+$/;

/** The status, and of bytes the first and last. A Range means something on GET only (RFC 9110, section 14.2). */
function dueTo(owed: Owed, size: number, method: "GET" | "HEAD") {
  const whole = { status: 200, first: 0, last: size - 1 };
  if (typeof owed === "number") return { ...whole, status: owed };
  if (owed === "whole" || method === "HEAD") return whole;
  return owed === "nothing" ? { ...whole, status: 416 } : { ...owed, status: 206 };
}

/** A name under which nobody has read the object; it is sealed under it too. */
function newName(object: Stored): string {
  const key = `${object.key}~${++named}`;
  seal(dataset, { ...object, key });
  return key;
}

/** Asks each case by GET and HEAD, of `live` and of the sealed version in turn, by each door in turn. */
async function expectOwed(isolate: Reading, size: number, { isCold }: { isCold: boolean }): Promise<void> {
  const object = storedOf(size);
  let key = newName(object);
  const wrong: string[] = [];
  for (const [n, each] of [...rangesOf(size), ...conditionsOf(size, object.etag)].entries()) {
    for (const method of ["GET", "HEAD"] as const) {
      const version = n % 2 === (method === "GET" ? 0 : 1) ? "live" : "3";
      const ask: Ask = { method, version, headers: each.headers, door: DOORS[n % DOORS.length] ?? "path" };
      if (isCold && method === "HEAD" && n % 4 > 0) continue; // A HEAD of what nobody has read costs time, and is one code path.
      if (isCold) key = newName(object);
      // What was missed is answered again from what was then kept.
      for (let time = 0; time < (isCold && method === "GET" ? 2 : 1); time++) {
        wrong.push(...wrongs(await isolate.read(key, ask), object, each, ask));
      }
    }
  }
  expect(wrong).toEqual([]);
}

describe("an object is read as the contract says", () => {
  describe.each(SIZES)("of %d bytes", (size) => {
    it("where nobody has read it, and again where it was just read", async () => {
      await expectOwed(await startIsolate(dataset, { DATASETS: bucket }), size, { isCold: true });
    });

    it("where the isolate remembers what was asked before", async () => {
      await expectOwed(await startIsolate(dataset, { DATASETS: bucket }), size, { isCold: false });
    });

    it("where only the data centre's cache does", async () => {
      const forgetful = { DATASETS: bucket, BLOCK_MEMORY_BYTES: "0" };
      await expectOwed(await startIsolate(dataset, forgetful), size, { isCold: false });
    });
  });
});
