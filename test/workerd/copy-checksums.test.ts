import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it } from "vitest";
import { putWhole } from "../../queues/migration/copy.ts";
import { copyInParts } from "../../queues/migration/copy-in-parts.ts";
import type { Copying } from "../../queues/migration/run.ts";
import { proofOf } from "../../queues/migration/upload.ts";
import { askWhole, multipartEtag } from "../../queues/migration/whole-checksum.ts";
import { crc64Of, md5Of, sha256Of } from "../../workers/adapters/digest.ts";
import { createMemoryStore } from "../../workers/adapters/memory-store.ts";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { rowOfCopy } from "../../workers/core/manifest/stored-row.ts";
import type { CopyItem } from "../../workers/core/migration/message.ts";
import type { Checksums, ObjectBody } from "../../workers/ports/object-store.ts";
import { expectOk as must } from "../contract/given.ts";
import { bytesOf, PART_BYTES } from "./harness/source.ts";

const MiB = 1024 * 1024;
const store = createR2Store(env.DATASETS);
let prefix = "";
let serial = 0;
beforeEach(() => (prefix = `copy-checksums-${++serial}/`));

/** What a source says of an object beside its bytes. */
interface Said {
  checksums?: Checksums;
  /** Its ETag; the MD5 by default. */
  etag?: string;
  /** Whether what it sends is not what it has. */
  wrongByte?: boolean;
}

const itemOf = (bytes: Uint8Array, etag: string): CopyItem => ({
  key: "object",
  size: bytes.length,
  etag,
  lastModified: 1_700_000_000_000,
  was: null,
});

/** A source with one object, and a copy of it under way. */
async function given(bytes: Uint8Array<ArrayBuffer>, said: Said, checksums = true) {
  const memory = createMemoryStore();
  const metadata = { http: { contentType: "x/y" }, custom: {}, size: bytes.length };
  const put = must(await memory.put("object", bytes, metadata));
  const etag = said.etag ?? put.etag;
  const asked: { op: string; checksums: boolean }[] = [];
  const vouch = <T extends object>(info: T, isAsked: boolean): T => ({
    ...info,
    etag,
    md5: /^[0-9a-f]{32}$/.test(etag) ? etag : null,
    ...(isAsked && said.checksums !== undefined ? { checksums: said.checksums } : {}),
  });
  const spoil = (body: ReadableStream<Uint8Array>) =>
    body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform: (chunk, controller) => controller.enqueue(chunk.with(0, (chunk[0] ?? 0) ^ 1)),
      }),
    );
  const source: Copying["source"] = {
    list: memory.list,
    async head(key, options = {}) {
      asked.push({ op: "head", checksums: options.checksums === true });
      const info = await memory.head(key);
      return info.ok ? { ok: true, value: vouch(info.value, options.checksums === true) } : info;
    },
    async get(key, { ifMatch: _, ...options } = {}) {
      asked.push({ op: "get", checksums: options.checksums === true });
      const got = await memory.get(key, options);
      if (!got.ok) return got;
      const body = said.wrongByte === true ? spoil(got.value.body) : got.value.body;
      return {
        ok: true,
        value: { ...vouch(got.value, options.checksums === true && options.range === undefined), body },
      };
    },
    firstPart: async () => ({ ok: true, value: null }),
  };
  const spec = {
    id: "mig_test",
    dataset: "test",
    datasetId: "ds_test",
    source: { name: "test", prefix: "" },
    bucket: "DATASETS",
    prefix,
    multipartThresholdBytes: PART_BYTES,
    partBytes: PART_BYTES,
    checksums,
  };
  const run: Copying = { spec, source, store, origin: "s3://bucket/" };
  const item = itemOf(bytes, etag);
  return {
    run,
    item,
    asked,
    copy: async () => putWhole(item, must<ObjectBody>(await source.get("object", { checksums })), run, "piped"),
    inParts: () => copyInParts(item, run),
    inR2: () => env.DATASETS.get(`${prefix}object`),
  };
}

const NO_MD5 = "0123456789abcdef0123456789abcdef-kms";

describe.each([
  ["held in memory", 5000],
  ["of nothing", 0],
  ["streamed", 1.5 * MiB],
])("an object that is copied whole, %s,", (_what, size) => {
  const bytes = bytesOf(size, 7);

  it("has the proof of the strongest checksum that its source tells", async () => {
    const [sha256, crc64nvme] = [await sha256Of(bytes), await crc64Of(bytes)];
    const cases: [Said, string][] = [
      [{ checksums: { sha256, crc64nvme }, etag: NO_MD5 }, "sha256"],
      [{ checksums: { sha256, crc64nvme } }, "sha256"],
      [{ checksums: { crc64nvme }, etag: NO_MD5 }, "crc64nvme"],
      [{ checksums: { crc64nvme } }, "crc64nvme"],
      [{}, "md5"],
      [{ etag: NO_MD5 }, "size"],
    ];
    for (const [said, proof] of cases) {
      prefix = `copy-checksums-${++serial}/`;
      const { copy, inR2 } = await given(bytes, said);
      expect(must(await copy()), JSON.stringify(said)).toMatchObject({ proof, size, etag: await md5Of(bytes) });
      expect(await md5Of(new Uint8Array((await (await inR2())?.arrayBuffer()) ?? new ArrayBuffer(1)))).toBe(
        await md5Of(bytes),
      );
    }
  });

  it("has in its row, and in R2, the checksum that it was compared with, and no other", async () => {
    const [sha256, crc64nvme] = [await sha256Of(bytes), await crc64Of(bytes)];
    const cases: [Checksums, Checksums][] = [
      [{ sha256, crc64nvme }, { sha256 }],
      [{ sha256 }, { sha256 }],
      [{ crc64nvme }, { crc64nvme }],
    ];
    for (const [checksums, compared] of cases) {
      prefix = `copy-checksums-${++serial}/`;
      const { copy } = await given(bytes, { checksums });
      const row = must(await copy());
      const expected = { sha256: null, crc64nvme: null, ...compared };
      expect({ sha256: row.sha256, crc64nvme: row.crc64nvme }).toEqual(expected);
      const stored = must(await store.head(`${prefix}object`, { checksums: true }));
      expect(rowOfCopy("object", stored, "x")).toMatchObject(expected);
    }
  });

  it.each<[string, (others: Uint8Array) => Promise<Said>]>([
    ["SHA-256", async (others) => ({ checksums: { sha256: await sha256Of(others) }, etag: NO_MD5 })],
    ["SHA-256, though its MD5 is right,", async (others) => ({ checksums: { sha256: await sha256Of(others) } })],
    ["CRC-64/NVME", async (others) => ({ checksums: { crc64nvme: await crc64Of(others) }, etag: NO_MD5 })],
    ["CRC-64/NVME, though its MD5 is right,", async (others) => ({ checksums: { crc64nvme: await crc64Of(others) } })],
  ])("and has another %s is a mismatch, and nothing of it is in R2", async (_which, saidOf) => {
    const { copy, inR2 } = await given(bytes, await saidOf(bytesOf(size + 1, 8)));
    expect(await copy()).toMatchObject({ ok: false, failure: { code: "checksum-mismatch" } });
    expect(await inR2()).toBeNull();
  });

  it("leaves what was in R2 where it is a mismatch", async () => {
    const crc64nvme = await crc64Of(bytesOf(9, 9));
    const { run, item, inR2 } = await given(bytes, { checksums: { crc64nvme }, etag: NO_MD5 });
    const before = must(await store.put(`${prefix}object`, bytesOf(3, 3), { http: {}, custom: {}, size: 3 }));
    const body = must<ObjectBody>(await run.source.get("object", { checksums: true }));
    expect(await putWhole({ ...item, was: before.etag }, body, run, "piped")).toMatchObject({ ok: false });
    expect((await inR2())?.etag).toBe(before.etag);
  });
});

describe("an object that R2 does not take", () => {
  it("is let go of at the source, where not a byte of it was read", async () => {
    const { run, item } = await given(bytesOf(100, 1), {});
    const object = must<ObjectBody>(await run.source.get("object"));
    await object.body.cancel();
    let isCancelled = false;
    const body = new ReadableStream<Uint8Array>({ cancel: () => void (isCancelled = true) });
    const put = await putWhole(item, { ...object, custom: { much: "x".repeat(9000) }, body }, run, "piped");
    expect(put).toMatchObject({ ok: false, failure: { code: "metadata-too-large" } });
    expect(isCancelled).toBe(true);
  });
});

describe("an object that is copied in parts", () => {
  const bytes = bytesOf(2 * PART_BYTES + 12_345, 11);
  const pieces = [
    bytes.subarray(0, PART_BYTES),
    bytes.subarray(PART_BYTES, 2 * PART_BYTES),
    bytes.subarray(2 * PART_BYTES),
  ];

  it("whose ETag does not come out again is proved by the CRC of the whole, made from the parts'", async () => {
    const { inParts, inR2 } = await given(bytes, { checksums: { crc64nvme: await crc64Of(bytes) } });
    const crc64nvme = await crc64Of(bytes);
    expect(must(await inParts())).toMatchObject({ proof: "crc64nvme", size: bytes.length, crc64nvme });
    expect((await inR2())?.etag).toMatch(/-3$/);
  });

  it("whose ETag comes out again has the stronger proof", async () => {
    const md5s = await Promise.all(pieces.map(async (piece) => ({ md5: await md5Of(piece) })));
    const etag = await multipartEtag(md5s);
    const { inParts } = await given(bytes, { checksums: { crc64nvme: await crc64Of(bytes) }, etag });
    // Its parts were hashed on their way.
    expect(must(await inParts())).toMatchObject({ proof: "etag", etag, crc64nvme: await crc64Of(bytes) });
  });

  it("never becomes an object in R2 where its bytes are not those of the whole's CRC", async () => {
    const crc64nvme = await crc64Of(bytes);
    const { inParts, inR2 } = await given(bytes, { checksums: { crc64nvme }, wrongByte: true });
    expect(await inParts()).toMatchObject({ ok: false, failure: { code: "checksum-mismatch" } });
    expect(await inR2()).toBeNull();
  });

  it("of a source without checksums is proved by its parts, and nothing more is asked", async () => {
    const { inParts, asked } = await given(bytes, {});
    expect(must(await inParts())).toMatchObject({ proof: "parts" });
    expect(asked.filter(({ op }) => op === "head")).toEqual([{ op: "head", checksums: true }]);
  });

  it("and encrypted where it goes to has no ETag that would prove it, nor one that would disprove it", async () => {
    const { item } = await given(bytes, {});
    const parts = await Promise.all(pieces.map(async (piece) => ({ md5: await md5Of(piece) })));
    const stored = must(await store.put(`${prefix}x`, bytes, { http: {}, custom: {}, size: bytes.length }));
    expect(await proofOf(item, stored, parts, null)).toBeNull();
    expect(await proofOf(item, { ...stored, encrypted: true }, parts, null)).toBe("size");
    expect(await proofOf(item, { ...stored, encrypted: true }, parts, "crc64nvme")).toBe("crc64nvme");
    expect(await proofOf(item, { ...stored, encrypted: true, size: 1 }, parts, null)).toBeNull();
  });

  it("is not asked for checksums where none are wanted", async () => {
    const { inParts, asked } = await given(bytes, { checksums: { crc64nvme: await crc64Of(bytes) } }, false);
    expect(must(await inParts())).toMatchObject({ proof: "parts", crc64nvme: null });
    expect(asked.some(({ checksums }) => checksums)).toBe(false);
  });

  describe("by many messages, is compared before its upload is completed:", () => {
    const sentParts = async (of: readonly Uint8Array[]) =>
      Promise.all(
        of.map(async (piece, n) => ({
          partNumber: n + 1,
          etag: `part-${n}`,
          md5: await md5Of(piece),
          crc64: await crc64Of(piece),
        })),
      );
    const plan = { partBytes: PART_BYTES, parts: 3 };
    const ask = async (said: Said, checksums: boolean, spoil = false, item: Partial<CopyItem> = {}) => {
      const { run, item: listed, asked } = await given(bytes, said, checksums);
      const sent = await sentParts(spoil ? [pieces[1], pieces[0], pieces[2]].flatMap((piece) => piece ?? []) : pieces);
      const upload = { item: { ...listed, ...item }, uploadId: "u", plan };
      return { answer: await askWhole(upload, sent, run), requests: asked.length };
    };
    const told = async (): Promise<Said> => ({ checksums: { crc64nvme: await crc64Of(bytes) } });

    it("with one request for the source's checksum", async () => {
      expect(await ask(await told(), true)).toEqual({ answer: { ok: true, value: "crc64nvme" }, requests: 1 });
    });

    it("and is a mismatch where two parts stand in each other's place", async () => {
      const { answer } = await ask(await told(), true, true);
      expect(answer).toMatchObject({ ok: false, failure: { code: "checksum-mismatch" } });
    });

    it("with no request where no checksums are wanted", async () => {
      expect(await ask(await told(), false)).toEqual({ answer: { ok: true, value: null }, requests: 0 });
    });

    it("with no request where the parts' ETag is the source's", async () => {
      const etag = await multipartEtag(await sentParts(pieces));
      expect(await ask({ ...(await told()), etag }, true)).toEqual({ answer: { ok: true, value: null }, requests: 0 });
    });

    it("with what the source has of this object only, and not of the one that it has by now", async () => {
      const { answer } = await ask(await told(), true, true, { etag: "what-it-was" });
      expect(answer).toEqual({ ok: true, value: null });
    });
  });
});
