/** What the manifest says of where a copy came from: the source, and the object's tags and storage class there. */
import { AwsClient } from "aws4fetch";
import type { Checks } from "../harness/checks.ts";
import { type Client, followMigration } from "../harness/client.ts";
import { random } from "./corpus.ts";
import { putMultipart, putObject } from "./put-multipart.ts";
import { createS3Client } from "./s3-client.ts";
import type { SourceServer } from "./servers.ts";

const MiB = 1024 * 1024;
const SOURCE_PREFIX = "origins/";
const TAGS = { team: "earth obs", "a+b": "c/d:e", none: "" };
const STORAGE_CLASS = "STANDARD_IA";

interface Row {
  key: string;
  sourceUri: string | null;
  storageClass: string | null;
  tags: Record<string, string> | null;
}

/**
 * `client` speaks to an instance that has `server` as its source "server", a multipart threshold of 8 MiB and parts of 5.
 * Registers a dataset of its own.
 */
export async function checkOrigins(checks: Checks, server: SourceServer, client: Client): Promise<void> {
  const { name, manners } = server;
  await fill(server);
  const dataset = `${name}-origins`;
  const source = { name: "server", prefix: SOURCE_PREFIX };
  await client.call("PUT", `/v1/datasets/${dataset}`, { kind: "files", prefix: `${dataset}/`, source });
  const { id } = await client.call<{ id: string }>("POST", "/v1/migrations", { dataset });
  const run = await followMigration(client, id, { timeoutMs: 120_000 });
  checks.equal("every object is copied", [run.state, run.copied.objects, run.failures], ["done", 5, []]);

  const { objects } = await client.call<{ objects: Row[] }>("GET", `/v1/datasets/${dataset}/manifest?limit=10`);
  const rows = new Map(objects.map((row) => [row.key, row]));
  const uriOf = (key: string) => `s3://${server.bucket}/${SOURCE_PREFIX}${key}`;
  checks.equal(
    "each row names the object at the source",
    objects.map(({ key, sourceUri }) => [key, sourceUri]),
    [...rows.keys()].map((key) => [key, uriOf(key)]),
  );
  checks.equal("a plain object has neither tags nor a storage class", picked(rows.get("plain")), [null, null]);
  if (!manners.keepsTags) checks.note(`${name} keeps no tags`);
  if (!manners.keepsStorageClasses) checks.note(`${name} has one storage class`);
  const expected = [manners.keepsTags ? TAGS : null, manners.keepsStorageClasses ? STORAGE_CLASS : null];
  for (const key of ["small", "streamed", "whole", "parts"]) {
    checks.equal(
      `the row of the object that is ${key} has its tags and its storage class`,
      picked(rows.get(key)),
      expected,
    );
  }
}

const picked = (row: Row | undefined) => [sorted(row?.tags), row?.storageClass];

/** In the order of `TAGS`, which no server keeps. */
const sorted = (tags: Row["tags"] | undefined) =>
  tags && Object.fromEntries(Object.keys(TAGS).flatMap((key) => (tags[key] === undefined ? [] : [[key, tags[key]]])));

/** One object of each way to be copied: held, streamed, in parts though it was put whole, and in parts as it was put. */
async function fill(server: SourceServer): Promise<void> {
  const { accessKeyId, secretAccessKey, region, endpoint, bucket, manners } = server;
  const s3 = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 2 });
  const urlOf = (key: string) => `${endpoint}/${bucket}/${SOURCE_PREFIX}${key}`;
  const headers = manners.keepsStorageClasses ? { "x-amz-storage-class": STORAGE_CLASS } : {};
  await putObject(s3, urlOf("plain"), random(1000, 60));
  await putObject(s3, urlOf("small"), random(1000, 61), headers);
  await putObject(s3, urlOf("streamed"), random(3 * MiB, 62), headers);
  await putObject(s3, urlOf("whole"), random(9 * MiB, 63), headers);
  await putMultipart(s3, urlOf("parts"), random(11 * MiB, 64), 5 * MiB, headers);
  if (!manners.keepsTags) return;
  const client = createS3Client(server);
  const set = Object.entries(TAGS).map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`);
  const body = new TextEncoder().encode(`<Tagging><TagSet>${set.join("")}</TagSet></Tagging>`);
  for (const key of ["small", "streamed", "whole", "parts"]) {
    const query = { tagging: "" };
    const { status, bytes } = await client.send("PUT", bucket, SOURCE_PREFIX + key, { query, body });
    if (status !== 200) throw new Error(`${server.name} did not tag ${key}: ${status} ${bytes.toString()}`);
  }
}
