/** A migration with `checksums: true` of objects that a server keeps checksums of: the proofs they get. */
import { createHash } from "node:crypto";
import { AwsClient } from "aws4fetch";
import type { Checks } from "../harness/checks.ts";
import { type Client, followMigration } from "../harness/client.ts";
import { PART_BYTES, random } from "./corpus.ts";
import { encodeKey } from "./s3-client.ts";
import { putMultipart, putObject, unescapeXml } from "./put-multipart.ts";
import type { SourceServer } from "./servers.ts";

const MiB = 1024 * 1024;
const SOURCE_PREFIX = "checksums/";
const TIMEOUT_MS = 600_000;

interface Case {
  key: string;
  bytes: Uint8Array<ArrayBuffer>;
  /** How it is put. */
  put: (client: AwsClient, url: string, bytes: Uint8Array<ArrayBuffer>) => Promise<unknown>;
  /** With checksums and without. */
  proofs: [withChecksums: string, without: string];
}

/**
 * `client` speaks to an instance that has `server` as its source "server", a multipart threshold of 8 MiB and parts of 5.
 * Registers datasets of its own.
 */
export async function checkChecksums(checks: Checks, server: SourceServer, client: Client): Promise<void> {
  const { accessKeyId, secretAccessKey, region, endpoint, bucket, name } = server;
  const s3 = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 2 });
  const cases = casesOf(name);
  for (const { key, bytes, put } of cases) {
    await put(s3, `${endpoint}/${bucket}/${encodeKey(SOURCE_PREFIX + key)}`, bytes);
  }
  const requests: number[] = [];
  for (const checksums of [true, false]) {
    const dataset = `${name}-${checksums ? "checksums" : "no-checksums"}`;
    const source = { name: "server", prefix: SOURCE_PREFIX };
    await client.call("PUT", `/v1/datasets/${dataset}`, { kind: "files", prefix: `${dataset}/`, source });
    const { id } = await client.call<{ id: string }>("POST", "/v1/migrations", { dataset, checksums });
    const run = await followMigration(client, id, { timeoutMs: TIMEOUT_MS });
    const what = checksums ? "with checksums" : "without";
    checks.equal(
      `${what}: every object is copied`,
      [run.state, run.copied.objects, run.failures],
      ["done", cases.length, []],
    );
    await checkProofs(checks, client, dataset, cases, checksums);
    checks.note(`${what}: proofs ${JSON.stringify(run.proofs)}, ${run.operations.sourceGet} requests to read`);
    requests.push(run.operations.sourceGet);
  }
  // Each object in parts is asked for the whole's checksum once, before it is put together; what is copied whole was told
  // with its bytes, and an ETag that comes out equal says it all. Without a checksum only another reading tells whether
  // parts that should have made up the source's ETag, for it was put together from as many, were read right: such an
  // object is begun anew (its head, and that of its first part) and its parts are read once more.
  const inParts = cases.filter(({ proofs }) => proofs[1] === "parts").length;
  const readTwice = cases.filter(({ put }) => put === unequal);
  const again = readTwice.reduce((sum, { bytes }) => sum + 2 + Math.ceil(bytes.length / PART_BYTES), 0);
  const [withChecksums, without = 0] = requests;
  checks.equal(
    "checksums cost one request for each object in parts that its ETag does not prove, spare reading any twice, and no other",
    withChecksums,
    without + inParts - again,
  );
}

/** versitygw keeps a CRC-64/NVME of what is put without any checksum; moto keeps what it is told to. */
function casesOf(name: string): Case[] {
  const unasked = name === "versitygw" ? "crc64nvme" : "md5";
  const unaskedParts = name === "versitygw" ? "crc64nvme" : "parts";
  const plain: Case["put"] = (client, url, bytes) => putObject(client, url, bytes);
  return [
    { key: "empty", bytes: random(0, 40), put: withChecksum("sha256"), proofs: ["sha256", "md5"] },
    { key: "small-sha256", bytes: random(5000, 41), put: withChecksum("sha256"), proofs: ["sha256", "md5"] },
    { key: "small-crc64nvme", bytes: random(5000, 42), put: withChecksum("crc64nvme"), proofs: ["crc64nvme", "md5"] },
    { key: "small-plain", bytes: random(5000, 43), put: plain, proofs: [unasked, "md5"] },
    { key: "streamed-sha256", bytes: random(3 * MiB, 44), put: withChecksum("sha256"), proofs: ["sha256", "md5"] },
    {
      key: "streamed-crc64nvme",
      bytes: random(3 * MiB, 45),
      put: withChecksum("crc64nvme"),
      proofs: ["crc64nvme", "md5"],
    },
    // Copied in parts, which have neither the MD5 of the whole nor its SHA-256.
    {
      key: "large-crc64nvme",
      bytes: random(11 * MiB, 46),
      put: withChecksum("crc64nvme"),
      proofs: ["crc64nvme", "parts"],
    },
    { key: "large-sha256", bytes: random(11 * MiB, 47), put: withChecksum("sha256"), proofs: ["parts", "parts"] },
    { key: "large-plain", bytes: random(11 * MiB, 48), put: plain, proofs: [unaskedParts, "parts"] },
    {
      key: "parts-equal",
      bytes: random(11 * MiB, 49),
      put: (client, url, bytes) => putMultipart(client, url, bytes, 5 * MiB),
      proofs: ["etag", "etag"],
    },
    // R2 takes no unequal parts, so its ETag is another.
    { key: "parts-unequal", bytes: random(12 * MiB, 50), put: unequal, proofs: ["crc64nvme", "parts"] },
  ];
}

/** moto needs to be told which checksum to keep; versitygw checks the one that is sent. */
function withChecksum(kind: "sha256" | "crc64nvme"): Case["put"] {
  return async (client, url, bytes) => {
    const value = kind === "sha256" ? createHash("sha256").update(bytes).digest("base64") : crc64(bytes);
    await putObject(client, url, bytes, {
      "x-amz-sdk-checksum-algorithm": kind.toUpperCase(),
      [`x-amz-checksum-${kind}`]: value,
    });
  };
}

/** Parts of 5, 6 and 1 MiB, under a CRC-64/NVME of the whole. */
async function unequal(client: AwsClient, url: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const algorithm = { "x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "FULL_OBJECT" };
  const created = await send(client, `${url}?uploads=`, "POST", algorithm);
  const uploadId = encodeURIComponent(unescapeXml(/<UploadId>(.+?)<\/UploadId>/.exec(created.text)?.[1] ?? ""));
  let parts = "";
  for (const [index, [start, end]] of [
    [0, 5],
    [5, 11],
    [11, 12],
  ].entries()) {
    const part = bytes.subarray((start ?? 0) * MiB, (end ?? 0) * MiB);
    const sent = await send(client, `${url}?partNumber=${index + 1}&uploadId=${uploadId}`, "PUT", {}, part);
    const checksum = `<ChecksumCRC64NVME>${crc64(part)}</ChecksumCRC64NVME>`;
    parts += `<Part><PartNumber>${index + 1}</PartNumber><ETag>${sent.headers.get("etag")}</ETag>${checksum}</Part>`;
  }
  const type = { "x-amz-checksum-type": "FULL_OBJECT", "x-amz-checksum-crc64nvme": crc64(bytes) };
  const document = `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`;
  const { text } = await send(client, `${url}?uploadId=${uploadId}`, "POST", type, document);
  if (text.includes("<Error>")) throw new Error(`${url} was not completed: ${text}`);
}

async function send(
  client: AwsClient,
  url: string,
  method: string,
  headers: Record<string, string>,
  body?: Uint8Array<ArrayBuffer> | string,
): Promise<{ text: string; headers: Headers }> {
  const all = { ...headers, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
  const response = await client.fetch(url, { method, headers: all, ...(body === undefined ? {} : { body }) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${url} was answered ${response.status}: ${text}`);
  return { text, headers: response.headers };
}

interface Row {
  key: string;
  size: number;
  proof: string;
}

async function checkProofs(
  checks: Checks,
  client: Client,
  dataset: string,
  cases: readonly Case[],
  checksums: boolean,
) {
  const path = `/v1/datasets/${dataset}/manifest?limit=1000`;
  const { objects } = await client.call<{ objects: Row[] }>("GET", path);
  const found = Object.fromEntries(objects.map(({ key, size, proof }) => [key, [size, proof]]));
  for (const { key, bytes, proofs } of cases) {
    const wanted = proofs[checksums ? 0 : 1];
    const sentence = `${checksums ? "with checksums" : "without"}: ${key} has the proof ${wanted}`;
    checks.equal(sentence, found[key], [bytes.length, wanted]);
  }
}

const CRC_TABLE = Array.from({ length: 256 }, (_, byte) => {
  let crc = BigInt(byte);
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ 0x9a6c9329ac4bc9b5n : crc >> 1n;
  return crc;
});

/** CRC-64/NVME in base64, byte by byte: not the product's. */
function crc64(bytes: Uint8Array): string {
  const ones = 0xffff_ffff_ffff_ffffn;
  let crc = ones;
  for (const byte of bytes) crc = (CRC_TABLE[Number(crc & 0xffn) ^ byte] ?? 0n) ^ (crc >> 8n);
  return Buffer.from((crc ^ ones).toString(16).padStart(16, "0"), "hex").toString("base64");
}
