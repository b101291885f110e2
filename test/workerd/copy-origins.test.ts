import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { crc64Of, sha256Of } from "../../workers/adapters/digest.ts";
import type { MigrationOptions } from "../../workers/core/migration/request.ts";
import { carry } from "./harness/delivery.ts";
import { intercept, refusal, type Wire, withHeaders } from "./harness/intercept.ts";
import { ownSource } from "./harness/own-source.ts";
import { registerDataset, startRun, statusOf } from "./harness/run.ts";
import { bytesOf, envWithSource, fill, PART_BYTES, type Stored, text } from "./harness/source.ts";
import { deliverMiss, missOf, registerThrough, rowAt } from "./harness/through.ts";

const MiB = 1024 * 1024;
const TAGS = { team: "earth obs", "a=b": "c&d é" };
const XML = Object.entries(TAGS)
  .map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value.replace("&", "&amp;")}</Value></Tag>`)
  .join("");
const TOLD = `<?xml version="1.0"?><Tagging><TagSet>${XML}</TagSet></Tagging>`;
afterEach(() => vi.restoreAllMocks());

/**
 * The source, whose keys with "tagged" in them have tags and those with "rare" another storage class, as S3 says it: the
 * simulator's endpoint has neither.
 */
function givenOrigins(tagging: (key: string) => Response = () => new Response(TOLD)): Wire[] {
  return intercept((wire, pass) => {
    if (wire.query.has("tagging")) return tagging(wire.path);
    const isObject = wire.path.length > 1 && (wire.method === "GET" || wire.method === "HEAD");
    return isObject
      ? withHeaders(pass(), {
          ...(wire.path.includes("tagged") ? { "x-amz-tagging-count": "2" } : {}),
          ...(wire.path.includes("rare") ? { "x-amz-storage-class": "STANDARD_IA" } : {}),
        })
      : pass();
  });
}

async function migrate(dataset: string, options: Partial<MigrationOptions> = {}, seen = envWithSource({})) {
  await registerDataset(dataset, `${dataset}/`);
  const run = await startRun(dataset, seen, options);
  await carry(run);
  const status = await statusOf(run);
  expect({ state: status.state, failures: status.failures }).toEqual({ state: "done", failures: [] });
  return status;
}

const originOf = (dataset: string) => `s3://${ownSource().bucket}/${dataset}/`;
/** "METHOD" of each request about a key, and "TAGS" of those for its tags. */
const askedOf = (wires: readonly Wire[], key: string) =>
  wires
    .filter(({ path }) => decodeURIComponent(path).endsWith(`/${key}`))
    .map(({ method, query }) => (query.has("tagging") ? "TAGS" : query.has("partNumber") ? "PART" : method));

describe("the rows of a migration", { timeout: 60_000 }, () => {
  it("name the source, and the tags and the storage class of those that have any, however they are copied", async () => {
    const dataset = "origins";
    const objects = new Map([
      ["plain", bytesOf(100, 1)],
      ["empty-tagged-rare", bytesOf(0, 2)],
      ["small-tagged", bytesOf(100, 3)],
      ["streamed-tagged-rare", bytesOf(1.5 * MiB, 4)],
      ["parts-tagged-rare", bytesOf(PART_BYTES + 100, 5)],
      ["scho\u0308n", text("schön")],
    ]);
    await fill(`${dataset}/`, objects);
    const wires = givenOrigins();
    const { operations } = await migrate(dataset);

    for (const [key, bytes] of objects) {
      expect(await rowAt(dataset, key.normalize("NFC")), key).toMatchObject({
        ...{ size: bytes.length, origin: originOf(dataset), sourceKey: key === key.normalize("NFC") ? null : key },
        tags: key.includes("tagged") ? TAGS : null,
        storageClass: key.includes("rare") ? "STANDARD_IA" : null,
      });
      const object = await env.DATASETS.get(`${dataset}/${key.normalize("NFC")}`);
      expect(new Uint8Array((await object?.arrayBuffer()) ?? new ArrayBuffer(1)), key).toEqual(bytes);
      expect(object?.customMetadata?.["penstock-source-tags"], key).toBe(
        key.includes("tagged") ? "team=earth%20obs&a%3Db=c%26d%20%C3%A9" : undefined,
      );
      expect(object?.customMetadata?.["penstock-source-storage-class"], key).toBe(
        key.includes("rare") ? "STANDARD_IA" : undefined,
      );
    }
    // What is held is read before the tags are asked for, and what is not is asked for again.
    expect(askedOf(wires, "plain")).toEqual(["GET"]);
    expect(askedOf(wires, "small-tagged")).toEqual(["GET", "TAGS"]);
    expect(askedOf(wires, "streamed-tagged-rare")).toEqual(["GET", "TAGS", "GET"]);
    expect(askedOf(wires, "parts-tagged-rare")).toEqual(["HEAD", "PART", "TAGS", "GET", "GET"]);
    expect(operations.sourceGet).toBe([...objects.keys()].flatMap((key) => askedOf(wires, key)).length);
  });

  it("name the source of what was found equal, with the storage class that it is listed with", async () => {
    const dataset = "origins-found";
    const bytes = text("the same");
    await fill(`${dataset}/`, new Map([["e\u0301", bytes]]));
    await env.DATASETS.put(`${dataset}/\u00e9`, bytes);
    intercept(async ({ query }, pass) => {
      if (!query.has("list-type")) return pass();
      const listing = await (await pass()).text();
      const told = listing.replace(/<StorageClass>\w+<\/StorageClass>/, "");
      return new Response(told.replace("</Contents>", "<StorageClass>STANDARD_IA</StorageClass></Contents>"));
    });
    expect(await migrate(dataset)).toMatchObject({ copied: { objects: 0 }, skipped: { objects: 1 } });
    expect(await rowAt(dataset, "\u00e9")).toMatchObject({
      ...{ origin: originOf(dataset), sourceKey: "e\u0301", storageClass: "STANDARD_IA", tags: null, proof: "md5" },
    });
  });

  it.each([
    ["that may not be read", "forbidden", () => refusal(403, "AccessDenied")],
    ["that are no longer there", "gone", () => refusal(404, "NoSuchTagSet")],
    ["that the server does not know", "unknown", () => refusal(501, "NotImplemented")],
    ["that are told as something else", "else", () => new Response("<html></html>")],
  ])("know nothing of tags %s, and the objects are copied", async (_what, name, answer) => {
    const dataset = `origins-${name}`;
    await fill(`${dataset}/`, new Map([["tagged", bytesOf(100, 1)]]));
    const wires = givenOrigins(answer);
    await migrate(dataset);
    expect(await rowAt(dataset, "tagged")).toMatchObject({ origin: originOf(dataset), tags: null, proof: "md5" });
    expect(askedOf(wires, "tagged")).toEqual(["GET", "TAGS"]);
  });

  it("have the tags that a source in trouble told when it was asked again", async () => {
    const dataset = "origins-trouble";
    const objects = new Map([
      ["small-tagged", bytesOf(100, 1)],
      ["streamed-tagged", bytesOf(1.5 * MiB, 2)],
    ]);
    await fill(`${dataset}/`, objects);
    const troubled = new Set<string>();
    givenOrigins((key) => {
      const isFirst = !troubled.has(key);
      troubled.add(key);
      return isFirst ? refusal(503, "ServiceUnavailable") : new Response(TOLD);
    });
    await migrate(dataset);
    expect(troubled.size).toBe(2);
    for (const key of objects.keys()) expect(await rowAt(dataset, key)).toMatchObject({ tags: TAGS });
  });

  it("have tags for which R2's metadata has no room, where they are made of what the source told", async () => {
    const dataset = "origins-no-room";
    // 22,500 bytes where they are percent-encoded.
    const values = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`k${n}`, "日".repeat(250)]));
    const xml = Object.entries(values).map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`);
    await fill(`${dataset}/`, new Map([["tagged", bytesOf(100, 1)]]));
    givenOrigins(() => new Response(`<Tagging><TagSet>${xml.join("")}</TagSet></Tagging>`));
    await migrate(dataset);
    expect(await rowAt(dataset, "tagged")).toMatchObject({ tags: values });
    const { customMetadata } = (await env.DATASETS.head(`${dataset}/tagged`)) as R2Object;
    expect(customMetadata).not.toHaveProperty("penstock-source-tags");
  });
});

describe("the rows of a migration with checksums", { timeout: 60_000 }, () => {
  it("have those that the bytes were compared with, and of what was copied in parts the CRC that it came to", async () => {
    const dataset = "origins-checksums";
    const objects = new Map([
      ["sha256", bytesOf(100, 1)],
      ["crc64nvme", bytesOf(100, 2)],
      ["in-parts", bytesOf(PART_BYTES + 100, 3)],
    ]);
    await fill(`${dataset}/`, objects);
    const sha256 = await sha256Of(objects.get("sha256") ?? text(""));
    const [crc64nvme, whole] = await Promise.all(
      ["crc64nvme", "in-parts"].map((key) => crc64Of(objects.get(key) ?? text(""))),
    );
    intercept((wire, pass) => {
      if (wire.headers.get("x-amz-checksum-mode") === null) return pass();
      const said = wire.path.endsWith("sha256")
        ? { "x-amz-checksum-sha256": Uint8Array.fromHex(sha256).toBase64() }
        : { "x-amz-checksum-crc64nvme": crc64nvme ?? "" };
      return wire.path.endsWith("in-parts") ? pass() : withHeaders(pass(), said);
    });
    await migrate(dataset, { checksums: true });
    expect(await rowAt(dataset, "sha256")).toMatchObject({ sha256, crc64nvme: null, proof: "sha256" });
    expect(await rowAt(dataset, "crc64nvme")).toMatchObject({ sha256: null, crc64nvme, proof: "crc64nvme" });
    expect(await rowAt(dataset, "in-parts")).toMatchObject({ md5: null, crc64nvme: whole, proof: "parts" });
  });
});

describe("tags of a source that allows one connection", { timeout: 60_000 }, () => {
  it("are asked for when no body is held open: nobody waits for a connection that it holds itself", async () => {
    const dataset = "origins-one-connection";
    const sizes = [100, 100, 100, 1.5 * MiB, 1.5 * MiB];
    await fill(`${dataset}/`, new Map(sizes.map((size, n) => [`tagged-${n}`, bytesOf(size, n)])));
    givenOrigins();
    const place = { ...ownSource(), limits: { connections: 1, requestsPerSecond: null } };
    // Nothing is put off: what finds no turn in a minute is.
    await migrate(dataset, {}, envWithSource(place));
    for (const n of sizes.keys()) expect(await rowAt(dataset, `tagged-${n}`)).toMatchObject({ tags: TAGS });
  });
});

describe("the row of what was copied because it was read", { timeout: 60_000 }, () => {
  it.each([
    ["small", 100],
    ["streamed", 1.5 * MiB],
    ["parts", PART_BYTES + 100],
  ])("names the source, its tags and its storage class: %s", async (name, size) => {
    const dataset = `origins-through-${name}`;
    const source = await fill(`${dataset}/`, new Map([["tagged-rare", bytesOf(size, 1)]]));
    await registerThrough(dataset);
    givenOrigins();
    const miss = missOf(dataset, "tagged-rare", source.get("tagged-rare") as Stored);
    expect(await deliverMiss(miss, envWithSource({}))).toBe("ack");
    const expected = { origin: originOf(dataset), tags: TAGS, storageClass: "STANDARD_IA" };
    expect(await rowAt(dataset, "tagged-rare")).toMatchObject(expected);
  });
});
