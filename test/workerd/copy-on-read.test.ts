import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { bury } from "./harness/delivery.ts";
import { keysInR2 } from "./harness/expect-exact.ts";
import { kill } from "./harness/interrupted.ts";
import { must } from "./harness/run.ts";
import { bytesOf, envWith, envWithSource, fill, PART_BYTES, type Stored, text } from "./harness/source.ts";
import { beforeDatasetCall, deliverMiss, missOf, reconfigure, registerThrough, rowAt } from "./harness/through.ts";
import { notingUploads, stillOpen } from "./harness/uploads.ts";

const MiB = 1024 * 1024;

const summaryOf = async (dataset: string) => must(await datasetOf(env, dataset).describe()).summary;

/** That nothing was copied, and nothing said to be. */
async function expectNothing(dataset: string): Promise<void> {
  expect(await keysInR2(`${dataset}/`)).toEqual([]);
  expect((await summaryOf(dataset)).objects).toBe(0);
}

/** R2 has these bytes at the key; returns the object. */
async function expectBytes(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<R2ObjectBody> {
  const object = await env.DATASETS.get(key);
  if (object === null) throw new Error(`${key} is not in R2`);
  const there = new Uint8Array(await object.arrayBuffer());
  expect(there.length === bytes.length && crypto.subtle.timingSafeEqual(there, bytes), `the bytes of ${key}`).toBe(
    true,
  );
  return object;
}

/** A dataset of one object at the source, which a reader has missed in R2. */
async function missed(
  dataset: string,
  bytes: Uint8Array<ArrayBuffer>,
  options: { key?: string; parts?: boolean } = {},
) {
  const { key = "x", parts = false } = options;
  const source = await fill(`${dataset}/`, new Map([[key, bytes]]), { multipart: new Set(parts ? [key] : []) });
  await registerThrough(dataset);
  const stored = source.get(key) as Stored;
  return { stored, message: missOf(dataset, key, stored) };
}

describe("a key that a reader missed is copied, proved and recorded like a migration's", { timeout: 300_000 }, () => {
  const SHAPES = [
    ["empty", "an empty object", 0, false, "md5"],
    ["small", "an object held in memory", 3000, false, "md5"],
    ["streamed", "an object that is streamed", 1.5 * MiB, false, "md5"],
    ["one-part", "a small object uploaded in parts", 4000, true, "etag"],
    ["parts", "an object uploaded in parts", 2 * PART_BYTES + 12_345, true, "etag"],
    ["large", "an object above the threshold, uploaded whole", PART_BYTES + 54_321, false, "parts"],
  ] as const;

  it.each(SHAPES)("%s: %s", async (name, _, size, parts, proof) => {
    const dataset = `through-${name}`;
    const { stored, message } = await missed(dataset, bytesOf(size, size + 1), { key: "raw/a/x", parts });
    const { bucket, created } = notingUploads();
    expect(await deliverMiss(message, envWith("plain", { DATASETS: bucket }))).toBe("ack");
    const object = await expectBytes(`${dataset}/raw/a/x`, stored.bytes);
    expect(object.customMetadata).toMatchObject({
      "penstock-migration": `through:ds_${dataset}`,
      "penstock-source-etag": stored.etag,
    });
    if (proof !== "parts") expect(object.etag, "R2's ETag came out as the source's").toBe(stored.etag);
    expect(await rowAt(dataset, "raw/a/x")).toMatchObject({
      ...{ size, etag: object.etag, uploadedAt: object.uploaded.getTime(), contentType: "application/x-test", proof },
      ...{ sourceEtag: stored.etag, sourceModifiedAt: Number(object.customMetadata?.["penstock-source-modified"]) },
      ...{ writer: `through:ds_${dataset}`, stage: "raw", category: "a" },
    });
    expect(await stillOpen(created)).toEqual([]);
  });

  it("with its encoding and the user's metadata", async () => {
    const headers = { "content-encoding": "zstd", "cache-control": "max-age=60", "x-amz-meta-project": "era5" };
    // Past the fault proxy, which would decode it.
    const seen = envWithSource({});
    const source = await fill("encoded/", new Map([["x", bytesOf(999, 1)]]), { headers });
    await registerThrough("encoded");
    expect(await deliverMiss(missOf("encoded", "x", source.get("x") as Stored), seen)).toBe("ack");
    const { httpMetadata, customMetadata } = (await env.DATASETS.head("encoded/x")) as R2Object;
    expect(httpMetadata).toMatchObject({ contentEncoding: "zstd", cacheControl: "max-age=60" });
    expect(customMetadata).toMatchObject({ project: "era5" });
  });

  it("under its name in Unicode NFC, with the source's name beside it", async () => {
    const key = "scho\u0308n";
    const { stored, message } = await missed("through-nfd", text("schön"), { key });
    expect(await deliverMiss(message, envWith("plain"))).toBe("ack");
    const { customMetadata } = await expectBytes("through-nfd/sch\u00f6n", stored.bytes);
    expect(customMetadata).toMatchObject({ "penstock-source-key": encodeURIComponent(key) });
    expect(await rowAt("through-nfd", "sch\u00f6n")).toMatchObject({ proof: "md5" });
  });
});

describe("a message that comes twice", { timeout: 300_000 }, () => {
  it.each([
    ["small", 3000],
    ["large", PART_BYTES + 1],
  ])("copies a %s object once", async (name, size) => {
    const dataset = `twice-${name}`;
    const { message } = await missed(dataset, bytesOf(size, 5));
    const { bucket, created } = notingUploads();
    const seen = envWith("plain", { DATASETS: bucket });
    expect(await Promise.all([deliverMiss(message, seen), deliverMiss(message, seen)])).toEqual(["ack", "ack"]);
    const first = await env.DATASETS.head(`${dataset}/x`);
    expect(await deliverMiss(message, seen)).toBe("ack");
    expect((await env.DATASETS.head(`${dataset}/x`))?.version).toBe(first?.version);
    expect(await summaryOf(dataset)).toMatchObject({ objects: 1, bytes: size });
    expect(await stillOpen(created)).toEqual([]);
  });

  it.each([
    ["small", 3000, false, "md5"],
    ["parts", PART_BYTES + 1, true, "etag"],
    // What its parts were is not known any more, and an MD5 says nothing of a multipart ETag.
    ["large", PART_BYTES + 1, false, "size"],
  ] as const)("writes the row where the first was killed before it could: %s", async (name, size, parts, proof) => {
    const dataset = `killed-${name}`;
    const { stored, message } = await missed(dataset, bytesOf(size, 6), { parts });
    const seen = envWith("plain");
    expect(await deliverMiss(message, beforeDatasetCall(seen, "applyRows", kill))).toBe("retry");
    const first = await env.DATASETS.head(`${dataset}/x`);
    expect((await summaryOf(dataset)).objects).toBe(0);
    expect(await deliverMiss(message, seen)).toBe("ack");
    expect((await env.DATASETS.head(`${dataset}/x`))?.version, "it is not copied again").toBe(first?.version);
    expect(await rowAt(dataset, "x")).toMatchObject({ proof, sourceEtag: stored.etag, etag: first?.etag });
  });
});

describe("a source that changed since the miss", () => {
  const older = { bytes: bytesOf(1, 1), etag: "0cc175b9c0f1b6a831c399e269772661" };

  it.each([
    ["small", 3000],
    ["large", PART_BYTES + 1],
  ])("is not copied: the miss of its new ETag has a message of its own (%s)", async (name, size) => {
    const dataset = `changed-${name}`;
    const { message } = await missed(dataset, bytesOf(size, 7));
    const { bucket, created } = notingUploads();
    const seen = envWith("plain", { DATASETS: bucket });
    expect(await deliverMiss({ ...message, etag: older.etag }, seen)).toBe("ack");
    await expectNothing(dataset);
    expect(created).toEqual([]);
  });

  it("is not taken at its word where it ignores If-Match", async () => {
    const { message } = await missed("changed-ignored", bytesOf(3000, 8), { key: "fault-html-etag" });
    expect(await deliverMiss(message, envWith("plain"))).toBe("ack");
    await expectNothing("changed-ignored");
  });

  it("is not copied half: one that changes between two parts leaves nothing", async () => {
    const { message } = await missed("changed-between", bytesOf(2 * PART_BYTES, 9), { key: "fault-etag-changed" });
    const { bucket, created } = notingUploads();
    expect(await deliverMiss(message, envWith("plain", { DATASETS: bucket }))).toBe("ack");
    await expectNothing("changed-between");
    expect(created).toHaveLength(1);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("and has the object no more, has nothing to copy", async () => {
    await registerThrough("gone");
    expect(await deliverMiss(missOf("gone", "x", older), envWith("plain"))).toBe("ack");
    await expectNothing("gone");
  });
});

describe("a source with trouble", { timeout: 300_000 }, () => {
  const FAULTS = ["reset", "503", "html", "html-same-etag", "truncate"] as const;

  it.each([...FAULTS, "wrong-byte"])(
    "%s: a small object is tried again, and copied when that has passed",
    async (fault) => {
      const dataset = `trouble-${fault}`;
      const key = `fault-${fault}~2`;
      const { stored, message } = await missed(dataset, bytesOf(3000, 10), { key });
      const seen = envWith("plain");
      for (let delivery = 1; delivery <= 2; delivery++) {
        expect(await deliverMiss(message, seen)).toBe("retry");
        await expectNothing(dataset);
      }
      expect(await deliverMiss(message, seen)).toBe("ack");
      await expectBytes(`${dataset}/${key}`, stored.bytes);
      expect(await rowAt(dataset, key)).toMatchObject({ proof: "md5" });
    },
  );

  it.each(["reset", "503", "truncate"])("%s: so is a large one, of which nothing is left meanwhile", async (fault) => {
    const dataset = `trouble-parts-${fault}`;
    const key = `fault-${fault}~1`;
    const { stored, message } = await missed(dataset, bytesOf(PART_BYTES + 1, 11), { key });
    const { bucket, created } = notingUploads();
    const seen = envWith("plain", { DATASETS: bucket });
    let deliveries = 1;
    for (; (await deliverMiss(message, seen)) === "retry"; deliveries++) {
      await expectNothing(dataset);
      expect(await stillOpen(created)).toEqual([]);
    }
    expect(deliveries).toBeGreaterThan(1);
    await expectBytes(`${dataset}/${key}`, stored.bytes);
    expect(await rowAt(dataset, key)).toMatchObject({ proof: "parts" });
    expect(await stillOpen(created)).toEqual([]);
  });

  it("that lets nobody in is not asked again", async () => {
    const { message } = await missed("refused", bytesOf(10, 12), { key: "fault-403" });
    expect(await deliverMiss(message, envWith("plain"))).toBe("ack");
    expect(await deliverMiss(message, envWith("plain", { SOURCE_TEST_ACCESS_KEY_ID: "" }))).toBe("ack");
    await expectNothing("refused");
  });

  it("beyond the queue's patience is a line of the log", async () => {
    const { message } = await missed("given-up", bytesOf(10, 13));
    const logged = vi.spyOn(console, "error").mockImplementation(() => undefined);
    expect(await bury({ queue: "migration", body: message, deliveries: 9 }, envWith("plain"))).toBe("ack");
    const lines = logged.mock.calls.map(([line]) => JSON.parse(String(line)) as unknown);
    logged.mockRestore();
    expect(lines).toEqual([{ message: "copy on read given up", code: "dead-letter", dataset: "given-up", key: "x" }]);
  });
});

describe("what must not be copied", () => {
  let message: Awaited<ReturnType<typeof missed>>["message"];
  const dataset = "forbidden";
  beforeAll(async () => {
    ({ message } = await missed(dataset, bytesOf(100, 14)));
  });

  it.each(["r2", "source"] as const)("is read by the policy %s meanwhile", async (read) => {
    await reconfigure(dataset, { read });
    expect(await deliverMiss(message, envWith("plain"))).toBe("ack");
    await reconfigure(dataset, { read: "through" });
    await expectNothing(dataset);
  });

  it("was missed in another dataset of the name", async () => {
    expect(await deliverMiss({ ...message, datasetId: "ds_older" }, envWith("plain"))).toBe("ack");
    await expectNothing(dataset);
  });

  it("was missed in a dataset that nobody knows", async () => {
    expect(await deliverMiss({ ...message, dataset: "never-registered" }, envWith("plain"))).toBe("ack");
  });

  it("is too large for one invocation, and is left to a migration without a question to the source", async () => {
    const nowhere = envWith("plain", {
      SOURCES: { test: { endpoint: "http://127.0.0.1:1", region: "r", bucket: "b" } },
    });
    expect(await deliverMiss({ ...message, size: 12_000_000_001 }, nowhere)).toBe("ack");
    await expectNothing(dataset);
  });

  it("was deleted on purpose, before or during the copy", async () => {
    const seen = envWith("plain");
    const stub = datasetOf(env, dataset);
    let asked = 0;
    const during = beforeDatasetCall(seen, "isBuried", async () => {
      if (++asked === 2) await stub.bury(`ds_${dataset}`, ["x"]);
    });
    expect(await deliverMiss(message, during)).toBe("ack");
    expect(asked).toBe(2);
    await expectNothing(dataset);
    expect(await stub.isBuried("x")).toBe(true);
    expect(await deliverMiss(message, seen)).toBe("ack");
    await expectNothing(dataset);
  });
});
