import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact } from "./harness/expect-exact.ts";
import { startRun, type TestRun } from "./harness/run.ts";
import { bytesOf, envWith, fill, PART_BYTES, type Stored, text } from "./harness/source.ts";
import { deliverMiss, missOf, registerThrough, rowAt } from "./harness/through.ts";
import { notingUploads, stillOpen, withUploadMethod } from "./harness/uploads.ts";

const MiB = 1024 * 1024;
const KEYS = ["small", "parts", "large"];

/** One object that is put whole, one whose multipart ETag can be reproduced, and one whose ETag cannot. */
async function prepare(dataset: string): Promise<Map<string, Stored>> {
  const objects = new Map([
    ["small", bytesOf(3000, 1)],
    ["parts", bytesOf(PART_BYTES + 2, 2)],
    ["large", bytesOf(PART_BYTES + 3, 3)],
  ]);
  await registerThrough(dataset);
  return fill(`${dataset}/`, objects, { multipart: new Set(["parts"]) });
}

const writerOf = async (key: string) => (await env.DATASETS.head(key))?.customMetadata?.["penstock-migration"];

/** Delivers, and lets something happen when the listing has been read. */
const afterListing = (happens: () => Promise<void>) => async (letter: Letter, seen: Env) => {
  const answer = await deliver(letter, seen);
  if (letter.body.type === "list") await happens();
  return answer;
};

/** A bucket in which something happens once, before the first `put` reaches it. */
function beforePut(bucket: R2Bucket, happens: () => Promise<void>): R2Bucket {
  let puts = 0;
  return new Proxy(bucket, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      if (name !== "put") return value.bind(target) as unknown;
      return async (...args: unknown[]) => {
        if (puts++ === 0) await happens();
        return (value as (...all: unknown[]) => unknown).apply(target, args);
      };
    },
  });
}

describe("a migration that meets what a reader's miss had copied since its listing", { timeout: 300_000 }, () => {
  async function meet(dataset: string, copying: Record<string, unknown> = {}) {
    const source = await prepare(dataset);
    const { bucket, created } = notingUploads();
    const seen = envWith("plain", { DATASETS: bucket });
    const run = await startRun(dataset, seen);
    const copy = async () => {
      for (const [key, stored] of source) {
        expect(await deliverMiss(missOf(dataset, key, stored), { ...seen, ...copying })).toBe("ack");
      }
    };
    await carry(run, { hand: afterListing(copy) });
    return { run, source, created };
  }

  it("counts it as copied and leaves it there, with its proof", async () => {
    const { run, source, created } = await meet("meets");
    const { copied, skipped, proofs } = await expectExact(run, source);
    expect({ copied: copied.objects, skipped: skipped.objects }).toEqual({ copied: 3, skipped: 0 });
    expect(proofs).toEqual({ md5: 1, etag: 1, parts: 1 });
    for (const key of KEYS) expect(await writerOf(`meets/${key}`)).toBe("through:ds_meets");
    expect((await rowAt("meets", "large"))?.writer).toBe("through:ds_meets");
    expect(created, "two by the reads, two by the migration").toHaveLength(4);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("does so though it was cut into other parts", async () => {
    const { run, source, created } = await meet("meets-other-parts", { PART_BYTES: 6 * MiB });
    const { copied } = await expectExact(run, source);
    expect(copied.objects).toBe(3);
    expect(await writerOf("meets-other-parts/large")).toBe("through:ds_meets-other-parts");
    expect(await stillOpen(created)).toEqual([]);
  });

  it("writes over it where it is of another state of the object than the source lists", async () => {
    const dataset = "meets-older";
    const source = await prepare(dataset);
    const { bucket, created } = notingUploads();
    const run = await startRun(dataset, envWith("plain", { DATASETS: bucket }));
    const copyOlder = async () => {
      const customMetadata = { "penstock-migration": `through:ds_${dataset}`, "penstock-source-etag": "older" };
      for (const key of KEYS) await env.DATASETS.put(`${dataset}/${key}`, "older", { customMetadata });
    };
    await carry(run, { hand: afterListing(copyOlder) });
    const { copied } = await expectExact(run, source);
    expect(copied.objects).toBe(3);
    for (const key of KEYS) expect(await writerOf(`${dataset}/${key}`)).toBe(run.id);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("finds nothing to do where the listing shows it already", async () => {
    const dataset = "meets-listed";
    const source = await prepare(dataset);
    const seen = envWith("plain");
    for (const [key, stored] of source) await deliverMiss(missOf(dataset, key, stored), seen);
    const run = await startRun(dataset, seen);
    await carry(run);
    const { skipped, operations } = await expectExact(run, source);
    expect({ skipped: skipped.objects, reads: operations.sourceGet }).toEqual({ skipped: 3, reads: 0 });
  });

  it("does not take another dataset's for its own", async () => {
    const dataset = "meets-foreign";
    const source = await prepare(dataset);
    const run = await startRun(dataset, envWith("plain"));
    const copyForeign = async () => {
      for (const [key, { etag, bytes }] of source) {
        const customMetadata = { "penstock-migration": "through:ds_older", "penstock-source-etag": etag };
        await env.DATASETS.put(`${dataset}/${key}`, bytesOf(bytes.length, 99), { customMetadata });
      }
    };
    await carry(run, { hand: afterListing(copyForeign) });
    for (const key of KEYS) expect(await writerOf(`${dataset}/${key}`)).toBe("through:ds_older");
  });
});

describe("a copy on read that meets an object in R2 leaves it as it is", { timeout: 300_000 }, () => {
  const ofAStranger = text("a stranger's");

  it.each(KEYS)("a migration's (%s)", async (key) => {
    const dataset = `left-${key}`;
    const source = await prepare(dataset);
    const seen = envWith("plain");
    const run = await startRun(dataset, seen);
    await carry(run);
    const [before, row] = [await env.DATASETS.head(`${dataset}/${key}`), await rowAt(dataset, key)];
    expect(await deliverMiss(missOf(dataset, key, source.get(key) as Stored), seen)).toBe("ack");
    expect((await env.DATASETS.head(`${dataset}/${key}`))?.version).toBe(before?.version);
    expect(await rowAt(dataset, key)).toEqual(row);
  });

  it.each(KEYS)("a stranger's (%s)", async (key) => {
    const dataset = `stranger-${key}`;
    const source = await prepare(dataset);
    await env.DATASETS.put(`${dataset}/${key}`, ofAStranger);
    expect(await deliverMiss(missOf(dataset, key, source.get(key) as Stored), envWith("plain"))).toBe("ack");
    expect(await (await env.DATASETS.get(`${dataset}/${key}`))?.text()).toBe("a stranger's");
    expect(await rowAt(dataset, key)).toBeUndefined();
  });

  it("what a whole migration put while it read", async () => {
    const dataset = "overtaken";
    const source = await prepare(dataset);
    const { bucket, created } = notingUploads();
    const seen = envWith("plain", { DATASETS: bucket });
    let run: TestRun | null = null;
    const migrate = async () => {
      if (run !== null) return;
      run = await startRun(dataset, seen);
      await carry(run);
    };
    const during = withUploadMethod(bucket, "uploadPart", async (upload, ...args) => {
      await migrate();
      return upload.uploadPart(...args);
    });
    const large = missOf(dataset, "large", source.get("large") as Stored);
    expect(await deliverMiss(large, { ...seen, DATASETS: during })).toBe("ack");
    if (run === null) throw new Error("No part was sent.");
    await expectExact(run, source);
    expect(await writerOf(`${dataset}/large`)).toBe((run as TestRun).id);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("what somebody put in the moment before it", async () => {
    const dataset = "overtaken-put";
    const source = await prepare(dataset);
    const bucket = beforePut(env.DATASETS, async () => {
      await env.DATASETS.put(`${dataset}/small`, ofAStranger);
    });
    const small = missOf(dataset, "small", source.get("small") as Stored);
    expect(await deliverMiss(small, envWith("plain", { DATASETS: bucket }))).toBe("ack");
    expect(await (await env.DATASETS.get(`${dataset}/small`))?.text()).toBe("a stranger's");
    expect(await rowAt(dataset, "small")).toBeUndefined();
  });
});

describe("a copy on read in parts", { timeout: 300_000 }, () => {
  async function missLarge(dataset: string): Promise<{ message: ReturnType<typeof missOf>; stored: Stored }> {
    const stored = (await prepare(dataset)).get("large") as Stored;
    return { message: missOf(dataset, "large", stored), stored };
  }

  it("is recorded where R2 completed it and the answer was lost", async () => {
    const { message, stored } = await missLarge("lost-complete");
    const bucket = withUploadMethod(env.DATASETS, "complete", async (upload, parts) => {
      await upload.complete(parts);
      throw new Error("Network connection lost.");
    });
    expect(await deliverMiss(message, envWith("plain", { DATASETS: bucket }))).toBe("ack");
    expect(await rowAt("lost-complete", "large")).toMatchObject({ proof: "parts", sourceEtag: stored.etag });
  });

  it("is taken away where R2 holds other bytes than were read", async () => {
    const { message } = await missLarge("other-bytes");
    const bucket = withUploadMethod(env.DATASETS, "uploadPart", async (upload, partNumber, body) => {
      const bytes = new Uint8Array(await new Response(body as ReadableStream).arrayBuffer());
      bytes[0] = (bytes[0] ?? 0) ^ 1;
      return upload.uploadPart(partNumber, bytes);
    });
    expect(await deliverMiss(message, envWith("plain", { DATASETS: bucket }))).toBe("retry");
    expect(await env.DATASETS.head("other-bytes/large")).toBeNull();
    expect(await rowAt("other-bytes", "large")).toBeUndefined();
  });

  it("is left to the next migration where it takes over ten minutes", async () => {
    const dataset = "slow";
    const bytes = bytesOf(5 * PART_BYTES + 1, 4);
    const stored = (await fill(`${dataset}/`, new Map([["x", bytes]]))).get("x") as Stored;
    await registerThrough(dataset);
    const { bucket, created } = notingUploads();
    const clock = vi.spyOn(Date, "now");
    const slow = withUploadMethod(bucket, "uploadPart", async (upload, ...args) => {
      const part = await upload.uploadPart(...args);
      clock.mockImplementation(() => new Date().getTime() + 601_000);
      return part;
    });
    const answer = await deliverMiss(missOf(dataset, "x", stored), envWith("plain", { DATASETS: slow }));
    clock.mockRestore();
    expect(answer).toBe("ack");
    expect(await env.DATASETS.head(`${dataset}/x`)).toBeNull();
    expect(created).toHaveLength(1);
    expect(await stillOpen(created)).toEqual([]);
  });
});
