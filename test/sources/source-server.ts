/** What a server is to the tests: where it is, who may use it, and its manners. */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ChildServer } from "./child-server.ts";
import type { Uploaded } from "./corpus.ts";
import { createS3Client } from "./s3-client.ts";

/** What datasets with a prefix are migrated from. */
const BUCKET = "penstock-source";
/** What is migrated whole, without a prefix. */
export const ROOT_BUCKET = "penstock-root";

/** What a server makes of requests, by its own documentation or as seen; anything beyond is a failed check. */
export interface Manners {
  /** Keys, relative to their dataset, that it may refuse to take. */
  refuses: readonly RegExp[];
  /** Whether it resolves dot segments and `//`, as file systems do. */
  foldsPaths: boolean;
  /** Keys that its listings show as other keys: nobody can migrate those. */
  garbles: (key: string) => boolean;
  /** Whether HEAD with partNumber tells the first part's size. */
  tellsPartSize: boolean;
  /** Whether it looks at signatures. */
  checksSignatures: boolean;
  /** Whether it keeps checksums beside ETags. */
  keepsChecksums: boolean;
  /** Whether it keeps tags, and more than one storage class. */
  keepsTags: boolean;
  keepsStorageClasses: boolean;
  /** Whether it takes the time of an object twice, so that it may be listed a second later than it is read. */
  datesTwice: boolean;
}

/** Where a listing is plain XML 1.0 these are lost: Go's encoder writes U+FFFD for each (XML 1.0, section 2.2). */
export const isBeyondXml = (key: string): boolean => [...key].some((character) => BEYOND_XML.has(character));
const BEYOND_XML = new Set([
  ...Array.from({ length: 0x20 }, (_, code) => String.fromCharCode(code)).filter(
    (character) => !"\t\n\r".includes(character),
  ),
  "\ufffe",
  "\uffff",
]);

export interface SourceServer {
  name: string;
  endpoint: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
  manners: Manners;
  /** Stores many at once, where requests one by one would take minutes; returns the ETags in order. */
  putMany?: (bucket: string, prefix: string, objects: readonly Uploaded[]) => Promise<string[]>;
  stop(): Promise<void>;
}

type Identity = Omit<SourceServer, "endpoint" | "bucket" | "stop">;

/** Makes both buckets. A server that refuses one is stopped. */
export async function withBuckets(server: ChildServer, identity: Identity): Promise<SourceServer> {
  const { name, region } = identity;
  try {
    const client = createS3Client({ ...identity, endpoint: server.endpoint });
    for (const bucket of [BUCKET, ROOT_BUCKET]) {
      const { status, bytes } = await client.send("PUT", bucket, null, {
        body: region === "us-east-1" ? new Uint8Array() : locationConstraint(region),
      });
      if (status !== 200) throw new Error(`${name} did not make the bucket: ${status} ${bytes.toString()}`);
    }
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { ...identity, endpoint: server.endpoint, bucket: BUCKET, stop: server.stop };
}

function locationConstraint(region: string): Uint8Array {
  const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
  return new TextEncoder().encode(
    `<CreateBucketConfiguration xmlns="${namespace}"><LocationConstraint>${region}</LocationConstraint></CreateBucketConfiguration>`,
  );
}

export function newFolder(parent: string, name: string): string {
  const folder = join(parent, name);
  mkdirSync(folder);
  return folder;
}

export function randomName(): string {
  return randomBytes(16).toString("hex");
}
