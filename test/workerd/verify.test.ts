import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { crc64Of, md5Of } from "../../workers/adapters/digest.ts";
import { carry } from "./harness/delivery.ts";
import { ownSource } from "./harness/own-source.ts";
import { startRun, statusOf } from "./harness/run.ts";
import { envWith, fill, sixtyAndTwo, type Stored, text } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";
import { replacing } from "./harness/uploads.ts";
import { copied, flipped, readingBucket, said, verify } from "./harness/verify.ts";

let source: Map<string, Stored>;
beforeAll(async () => {
  const { objects, multipart } = sixtyAndTwo();
  source = await fill("verified/", objects, { multipart });
}, 300_000);

/** Every ETag and time of upload under a dataset's prefix. */
const stateOf = async (dataset: string) =>
  (await env.DATASETS.list({ prefix: `${dataset}/` })).objects.map(({ key, etag, uploaded, version }) => ({
    ...{ key, etag, version },
    at: uploaded.getTime(),
  }));

describe("what was copied", { timeout: 300_000 }, () => {
  it("verifies by its listing and deep, object by object, and nothing is written", async () => {
    await copied("verify-all", "verified/");
    const before = await stateOf("verify-all");
    const bytes = [...source.values()].reduce((sum, object) => sum + object.bytes.length, 0);

    const listing = await verify("verify-all", "listing");
    expect(listing.status.verified).toEqual({ objects: 62, bytes });
    expect(listing.status.proofs).toEqual({ md5: 60, parts: 1, etag: 1 });
    expect(said(listing, "uploaded-whole.bin")).toBe("parts");
    expect(listing.status.operations).toMatchObject({ classB: 0, sourceGet: 0 });

    const deep = await verify("verify-all", "deep");
    expect(deep.status.verified).toEqual({ objects: 62, bytes });
    // Read in one go, the bytes have the MD5 that the parts of the copy could not show.
    expect(deep.status.proofs).toEqual({ md5: 61, etag: 1 });
    expect(said(deep, "uploaded-in-parts.bin")).toBe("etag");
    // Every object was read once, the one in parts by three ranges; the source was asked of the one whose ETags differ, and for a part size.
    expect(deep.status.operations).toMatchObject({ classB: 64, sourceGet: 2 });

    // The manifest learns the hashes that were computed, and keeps what it knows of proof and origin.
    const whole = source.get("uploaded-whole.bin") as Stored;
    const inParts = source.get("uploaded-in-parts.bin") as Stored;
    const origin = `s3://${ownSource().bucket}/verified/`;
    expect(await rowAt("verify-all", "uploaded-whole.bin")).toMatchObject({
      ...{ md5: await md5Of(whole.bytes), crc64nvme: null, proof: "parts", origin, sourceEtag: whole.etag },
    });
    expect(await rowAt("verify-all", "uploaded-in-parts.bin")).toMatchObject({
      ...{ md5: null, crc64nvme: await crc64Of(inParts.bytes), proof: "etag", origin, sourceEtag: inParts.etag },
    });

    expect(await stateOf("verify-all")).toEqual(before);
    const run = await startRun("verify-all", envWith("pages-of-20"));
    await carry(run);
    expect(await statusOf(run), "the manifest is as it was").toMatchObject({ skipped: { objects: 62 } });
  });

  it("may be verified in part: by a filter, or a list of keys", async () => {
    await copied("verify-some", "verified/");
    const filtered = await verify("verify-some", "deep", {}, { prefix: "c/3/" });
    expect([...filtered.report.keys()].sort()).toEqual(
      [...source.keys()].filter((key) => key.startsWith("c/3/")).sort(),
    );
    const named = await verify("verify-some", "deep", {}, { keys: ["empty", "uploaded-in-parts.bin", "日本/語.bin"] });
    expect([...named.report.keys()].sort()).toEqual(["empty", "uploaded-in-parts.bin", "日本/語.bin"]);
    expect(named.status.proofs).toEqual({ md5: 2, etag: 1 });
  });
});

describe("what is wrong in R2", { timeout: 300_000 }, () => {
  it.each(["listing", "deep"] as const)("is found by %s: changed, missing, of another size", async (how) => {
    const dataset = `verify-wrong-${how}`;
    await copied(dataset, "verified/");
    const bytesAt = (key: string) => source.get(key)?.bytes ?? text("");
    const put = (key: string, bytes: Uint8Array) => env.DATASETS.put(`${dataset}/${key}`, bytes);
    for (const key of ["c/1/1", "streamed.bin", "uploaded-whole.bin", "uploaded-in-parts.bin"]) {
      await put(key, flipped(bytesAt(key), bytesAt(key).length - 1));
    }
    await put("c/2/2", bytesAt("c/2/2").subarray(1));
    await env.DATASETS.delete(`${dataset}/c/3/3`);

    const verified = await verify(dataset, how);
    const wrong = Object.fromEntries(
      [...verified.report.values()].flatMap(({ key, outcome, code }) => (outcome === "verified" ? [] : [[key, code]])),
    );
    expect(wrong).toEqual({
      "c/1/1": "copy-different",
      "streamed.bin": "copy-different",
      "uploaded-whole.bin": "copy-different",
      // The source does not say how it cut its parts: that no usual cut gives its ETag is no proof of another object.
      "uploaded-in-parts.bin": "copy-unproved",
      "c/2/2": "copy-different",
      "c/3/3": "copy-missing",
    });
    expect(verified.report.get("c/3/3")?.outcome).toBe("missing");
    expect(verified.report.get("c/1/1")?.outcome).toBe("different");
    expect(verified.report.get("uploaded-in-parts.bin")?.outcome).toBe("unproved");
    expect(verified.status.failed.objects).toBe(6);
  });

  it("under the ETag that it had is found by reading alone", async () => {
    await copied("verify-rot", "verified/");
    const rotten = ["c/1/1", "streamed.bin", "uploaded-in-parts.bin"];
    const bucket = readingBucket(async (key, get) => {
      const got = await get();
      if (!rotten.some((name) => key === `verify-rot/${name}`)) return got;
      const rot = new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => controller.enqueue(chunk.with(0, (chunk[0] ?? 0) ^ 1)),
      });
      return replacing(got, { body: got.body.pipeThrough(rot) });
    });
    const seen = envWith("pages-of-20", { DATASETS: bucket });
    expect((await verify("verify-rot", "listing", { seen })).status.failed.objects).toBe(0);
    const deep = await verify("verify-rot", "deep", { seen });
    expect(deep.status.failed.objects).toBe(3);
    expect(said(deep, "c/1/1")).toBe("copy-different");
    expect(said(deep, "streamed.bin")).toBe("copy-different");
    expect(said(deep, "uploaded-in-parts.bin")).toBe("copy-unproved");
  });
});
