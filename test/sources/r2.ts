/** What R2 has, by its own S3 endpoint and on disk: nothing of the Worker is between. */
import type { Checks } from "../harness/checks.ts";
import { difference, type Expected, NONE } from "./expected.ts";
import { forEachAtOnce, shown, unquoted } from "./fill.ts";
import { storedHeaders } from "./headers.ts";
import { unescapeXml } from "./put-multipart.ts";
import type { Place } from "./place.ts";
import { createS3Client, type S3Answer, type S3Client } from "./s3-client.ts";
import { DATASETS_BUCKET, type StoredObject, storedObjects } from "./simulator.ts";

/** wrangler's proxy serves near 400 requests a second, whatever the number at once. */
const AT_ONCE = 16;

/** The R2 of an instance, and the dataset's prefix in it. */
type R2Place = Pick<Place, "r2" | "prefix" | "state">;

const clientOf = ({ r2 }: R2Place): S3Client => createS3Client(r2, "wire");

/**
 * Every key, byte and header of the dataset, as the simulator has them on disk; and `asked` once more by R2's endpoint,
 * which answers some hundred requests a second.
 */
export async function checkR2(
  checks: Checks,
  place: R2Place,
  expected: readonly Expected[],
  asked: readonly Expected[],
): Promise<void> {
  const listed = await listR2(place);
  const wanted = new Map(expected.map((object) => [object.key.normalize("NFC"), object]));
  checks.equal(
    "R2 lists each key once, in NFC, and none beside them",
    difference([...listed.keys()], [...wanted.keys()]),
    NONE,
  );
  const stored = { keys: [] as string[], wrong: [] as string[] };
  for (const object of storedObjects(place)) {
    stored.keys.push(object.key);
    const of = wanted.get(object.key);
    if (of !== undefined) stored.wrong.push(...differences(of, { ...object, headers: headersOf(object) }));
  }
  checks.equal("it stores these and no others", difference(stored.keys, [...wanted.keys()]), NONE);
  checks.equal(`${stored.keys.length} objects are there byte for byte and header for header`, stored.wrong, []);

  const begun = performance.now();
  const client = clientOf(place);
  const wrong: string[] = [];
  const unaddressable: string[] = [];
  await forEachAtOnce(asked, AT_ONCE, async (object) => {
    const { key, headers } = object;
    // The simulator's endpoint compresses once more what is stored compressed (miniflare 5.20261102).
    const method = headers["content-encoding"] === undefined ? "GET" : "HEAD";
    const answer = await client.send(method, DATASETS_BUCKET, place.prefix + key.normalize("NFC"));
    if (answer.status === 404 && /[\r\n\u2028\u2029]/.test(key)) unaddressable.push(shown(key));
    else if (answer.status !== 200) wrong.push(`${shown(key)}: ${answer.status}`);
    else wrong.push(...differences(object, seenIn(answer, method === "GET")));
  });
  if (asked.length === 0) return;
  const seconds = (performance.now() - begun) / 1000;
  checks.note(`${asked.length} answers in ${seconds.toFixed(1)} s, ${Math.round(asked.length / seconds)} a second`);
  if (unaddressable.length > 0)
    checks.note(`R2's local endpoint answers 404 to line breaks: ${unaddressable.join(", ")}`);
  checks.equal(`${asked.length} of them are told so by R2's S3 endpoint`, wrong, []);
}

/** A copy as it was found. */
interface Seen {
  etag: string;
  headers: Record<string, string>;
  /** Null where they were not asked for. */
  bytes: Uint8Array | null;
  /** The Content-Length of an answer. */
  length?: string | undefined;
}

const seenIn = (answer: S3Answer, hasBytes: boolean): Seen => ({
  etag: unquoted(answer.headers["etag"]),
  headers: storedHeaders(answer),
  bytes: hasBytes ? answer.bytes : null,
  length: answer.headers["content-length"],
});

/** What R2's binding calls what headers say. */
const HTTP_NAMES: Readonly<Record<string, string>> = {
  contentType: "content-type",
  cacheControl: "cache-control",
  contentDisposition: "content-disposition",
  contentEncoding: "content-encoding",
  contentLanguage: "content-language",
  cacheExpiry: "expires",
};

function headersOf({ http, custom }: StoredObject): Record<string, string> {
  const own = Object.entries(http).map(([name, value]) => {
    return [HTTP_NAMES[name] ?? name, typeof value === "number" ? new Date(value).toUTCString() : value];
  });
  const users = Object.entries(custom).map(([name, value]) => [`x-amz-meta-${name}`, value]);
  return Object.fromEntries([...own, ...users]) as Record<string, string>;
}

/** Where a copy is other than the source's object. */
function differences({ key, bytes, etag, modified, headers, proof }: Expected, seen: Seen): string[] {
  const name = shown(key);
  const { "x-amz-meta-penstock-migration": migration = "", ...rest } = seen.headers;
  const wanted: Record<string, string> = {
    // R2 would guess one.
    "content-type": "application/octet-stream",
    ...headers,
    "x-amz-meta-penstock-source-etag": etag,
    "x-amz-meta-penstock-source-modified": String(modified * 1000),
    ...(key === key.normalize("NFC") ? {} : { "x-amz-meta-penstock-source-key": encodeURIComponent(key) }),
  };
  const names = new Set([...Object.keys(rest), ...Object.keys(wanted)]);
  const wrong = [...names]
    .filter((header) => rest[header] !== wanted[header])
    .map((header) => `${name}: ${header} is ${rest[header] ?? "absent"}, at the source ${wanted[header] ?? "absent"}`);
  if (!/^mig_[0-9A-Z]{26}$/.test(migration)) wrong.push(`${name}: its migration is "${migration}"`);
  if (seen.bytes !== null && Buffer.compare(seen.bytes, bytes) !== 0) {
    wrong.push(`${name}: ${seen.bytes.length} other bytes`);
  }
  // wrangler's development proxy passes HTML through HTMLRewriter, which keeps the bytes and drops their length.
  const length = seen.length ?? String(bytes.length);
  if (length !== String(bytes.length)) wrong.push(`${name}: Content-Length is ${length}`);
  if (proof !== "parts" && proof !== "size" && seen.etag !== etag)
    wrong.push(`${name}: ${proof}, and ETag ${seen.etag}`);
  return wrong;
}

/** Keys without the prefix, with their ETags. */
export async function listR2(place: R2Place): Promise<Map<string, string>> {
  const client = clientOf(place);
  const etags = new Map<string, string>();
  for (let after = ""; ;) {
    const query = { "list-type": "2", "encoding-type": "url", prefix: place.prefix, "start-after": after };
    const answer = await client.send("GET", DATASETS_BUCKET, null, { query });
    const xml = answer.bytes.toString();
    if (answer.status !== 200) throw new Error(`R2's endpoint does not list: ${answer.status} ${xml}`);
    for (const [, key = "", etag = ""] of xml.matchAll(/<Key>(.*?)<\/Key>.*?<ETag>(.*?)<\/ETag>/gs)) {
      after = decodeURIComponent(unescapeXml(key));
      etags.set(after.slice(place.prefix.length), unquoted(unescapeXml(etag)));
    }
    if (!xml.includes("<IsTruncated>true</IsTruncated>")) return etags;
  }
}

/** Puts an object past Penstock, with the headers that the present one has, if there is one. */
export async function overwriteR2(place: R2Place, key: string, bytes: Uint8Array): Promise<void> {
  const client = clientOf(place);
  const name = place.prefix + key.normalize("NFC");
  const there = await client.send("HEAD", DATASETS_BUCKET, name);
  const headers = there.status === 200 ? storedHeaders(there) : {};
  const answer = await client.send("PUT", DATASETS_BUCKET, name, { headers, body: bytes });
  if (answer.status !== 200) throw new Error(`PUT ${shown(key)}: ${answer.status}`);
}

/** Deletes an object past Penstock. */
export async function deleteR2(place: R2Place, key: string): Promise<void> {
  const answer = await clientOf(place).send("DELETE", DATASETS_BUCKET, place.prefix + key.normalize("NFC"));
  if (answer.status !== 204) throw new Error(`DELETE ${shown(key)}: ${answer.status}`);
}
