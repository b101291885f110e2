import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { crc64Of, sha256Of } from "../../workers/adapters/digest.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { carry } from "./harness/delivery.ts";
import { intercept, withHeaders } from "./harness/intercept.ts";
import { must, registerDataset, startRun, statusOf } from "./harness/run.ts";
import { bytesOf, envWithSource, fill, PART_BYTES, text } from "./harness/source.ts";
import { copied, flipped, said, verify } from "./harness/verify.ts";
import { EVERYTHING } from "../../workers/core/manifest/query.ts";

const MiB = 1024 * 1024;
const UNKNOWN_CUT = 6 * MiB;
/** Without the proxy, for what stands between us and the source here is `intercept`. */
const direct = envWithSource({});

afterEach(() => vi.restoreAllMocks());

describe("objects that some other tool copied", { timeout: 300_000 }, () => {
  const sizes = { small: 5000, whole: PART_BYTES + 77, "in-parts": 2 * PART_BYTES + 99, "few-parts": 12 * MiB };
  const objects = new Map(Object.entries(sizes).map(([key, size], seed) => [key, bytesOf(size, 40 + seed)]));

  /** Puts an object into R2 in parts. */
  async function putInParts(key: string, bytes: Uint8Array, partBytes: number): Promise<void> {
    const upload = await env.DATASETS.createMultipartUpload(key);
    const parts: R2UploadedPart[] = [];
    for (let start = 0; start < bytes.length; start += partBytes) {
      parts.push(await upload.uploadPart(parts.length + 1, bytes.subarray(start, start + partBytes)));
    }
    await upload.complete(parts);
  }

  it("are proved by their bytes, however either side has cut them", async () => {
    const large = new Set(["in-parts", "few-parts"]);
    await fill("foreign/", new Map([...objects].filter(([key]) => key !== "few-parts")), { multipart: large });
    // Twelve MiB in two parts may be 8 and 4, or 10 and 2.
    const few = { multipart: large, partBytes: 10 * MiB };
    await fill("foreign/", new Map([["few-parts", objects.get("few-parts") ?? text("")]]), few);
    await registerDataset("foreign", "foreign/");
    for (const [key, bytes] of objects) {
      if (key === "small" || key === "few-parts") await env.DATASETS.put(`foreign/${key}`, bytes);
      else await putInParts(`foreign/${key}`, bytes, PART_BYTES);
    }
    const listing = await verify("foreign", "listing");
    expect(Object.fromEntries([...objects.keys()].map((key) => [key, said(listing, key)]))).toEqual({
      small: "md5",
      whole: "copy-unproved",
      "in-parts": "etag",
      "few-parts": "copy-unproved",
    });
    const deep = await verify("foreign", "deep");
    expect(Object.fromEntries([...objects.keys()].map((key) => [key, said(deep, key)]))).toEqual({
      small: "md5",
      whole: "md5",
      "in-parts": "etag",
      "few-parts": "etag",
    });
    expect(
      must(await datasetOf(env, "foreign").query(EVERYTHING, null, 10)).rows,
      "a verification leaves no row",
    ).toEqual([]);
  });

  // Two parts may be 8 or 10 MiB each by the tools' usual sizes, and are read in one go; three can only be 8, and are read one by one.
  it.each([2, 3])(
    "are unproved where the source's cut is unknown, unless it tells its first part, or a checksum: %d parts",
    async (parts) => {
      const bytes = bytesOf(parts * UNKNOWN_CUT - MiB, 50);
      const dataset = `cut-${parts}`;
      const multipart = { multipart: new Set(["x"]), partBytes: UNKNOWN_CUT };
      const etag = (await fill(`${dataset}/`, new Map([["x", bytes]]), multipart)).get("x")?.etag ?? "";
      await registerDataset(dataset, `${dataset}/`);
      await env.DATASETS.put(`${dataset}/x`, bytes);
      const deep = async () => said(await verify(dataset, "deep", { seen: direct }), "x");
      expect(await deep()).toBe("copy-unproved");

      const tellCrc = async (of: Uint8Array) => {
        vi.restoreAllMocks();
        const told = { "x-amz-checksum-crc64nvme": await crc64Of(of), "x-amz-checksum-type": "FULL_OBJECT" };
        intercept((wire, pass) => (wire.method === "HEAD" ? withHeaders(pass(), told) : pass()));
      };
      await tellCrc(bytes);
      expect(await deep()).toBe("crc64nvme");
      await tellCrc(flipped(bytes, 0));
      expect(await deep()).toBe("copy-different");

      vi.restoreAllMocks();
      const firstPart = {
        "content-length": String(UNKNOWN_CUT),
        "x-amz-mp-parts-count": String(parts),
        etag: `"${etag}"`,
      };
      intercept((wire, pass) => (wire.query.has("partNumber") ? new Response(null, { headers: firstPart }) : pass()));
      expect(await deep()).toBe("etag");
      await env.DATASETS.put(`${dataset}/x`, flipped(bytes, 7));
      // The middle one of three may be of any size.
      expect(await deep()).toBe(parts === 2 ? "copy-different" : "copy-unproved");
    },
  );
});

describe("a source whose ETags are no MD5s", { timeout: 300_000 }, () => {
  const OPAQUE = "0123456789abcdef0123456789abcdef";
  const bytes = bytesOf(3000, 60);

  /** A source that encrypts by KMS: its ETags look like MD5s. `more` is what its answers say beside. */
  async function encrypting(prefix: string, more: Record<string, string> = {}): Promise<void> {
    const { etag } = (await fill(prefix, new Map([["x", bytes]]))).get("x") ?? { etag: "" };
    intercept(async (wire, pass) => {
      if (!wire.query.has("list-type")) {
        return withHeaders(pass(), { etag: `"${OPAQUE}"`, "x-amz-server-side-encryption": "aws:kms", ...more });
      }
      const page = await pass();
      return new Response((await page.text()).replaceAll(etag, OPAQUE), { headers: page.headers });
    });
  }

  it("proves nothing by itself, also of a copy of ours: its size is no proof", async () => {
    await encrypting("kms-size/");
    await registerDataset("kms-size", "kms-size/");
    const run = await startRun("kms-size", direct);
    await carry(run);
    expect((await statusOf(run)).proofs).toEqual({ size: 1 });
    const deep = await verify("kms-size", "deep", { seen: direct });
    expect(said(deep, "x")).toBe("copy-unproved");
    expect(deep.report.get("x")?.detail).toContain("size");
  });

  it.each([
    ["sha256", async (of: Uint8Array) => Uint8Array.fromHex(await sha256Of(of)).toBase64()],
    ["crc64nvme", crc64Of],
  ] as const)("is proved by its %s, or found different", async (name, hash) => {
    const told = (value: string) => ({ [`x-amz-checksum-${name}`]: value, "x-amz-checksum-type": "FULL_OBJECT" });
    const dataset = `kms-${name}`;
    await encrypting(`${dataset}/`, told(await hash(bytes)));
    await registerDataset(dataset, `${dataset}/`);
    await env.DATASETS.put(`${dataset}/x`, bytes);
    expect(said(await verify(dataset, "deep", { seen: direct }), "x")).toBe(name);
    await env.DATASETS.put(`${dataset}/x`, flipped(bytes, 1));
    expect(said(await verify(dataset, "deep", { seen: direct }), "x")).toBe("copy-different");
  });
});

describe("parts that prove nothing but our own half of the way", { timeout: 300_000 }, () => {
  it("prove it again while R2 has what was put there", async () => {
    const objects = new Map([2, 3].map((parts) => [`${parts} parts`, bytesOf(parts * UNKNOWN_CUT - MiB, 70 + parts)]));
    await fill("own-cut/", objects, { multipart: new Set(objects.keys()), partBytes: UNKNOWN_CUT });
    await copied("own-cut", "own-cut/");
    expect((await verify("own-cut", "listing")).status.proofs).toEqual({ parts: 2 });
    expect((await verify("own-cut", "deep")).status.proofs).toEqual({ parts: 2 });
  });
});
