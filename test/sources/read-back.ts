/** Reads a dataset back as its users do, and compares every byte with what was uploaded. */
import { AwsClient } from "aws4fetch";
import { send } from "../e2e/raw-http.ts";
import type { Checks } from "../harness/checks.ts";
import type { Client } from "../harness/client.ts";
import { md5, type Uploaded } from "./corpus.ts";
import { encodeKey, forEachAtOnce } from "./fill.ts";

/** wrangler's proxy serves near 370 requests a second, whatever the number at once. */
const AT_ONCE = 16;

/** An object as it must be in R2. */
export interface Expected extends Uploaded {
  /** The source's. */
  etag: string;
}

export interface Place {
  client: Client;
  dataset: string;
  /** The dataset's prefix in R2. */
  prefix: string;
  r2: { endpoint: string; accessKeyId: string; secretAccessKey: string };
}

interface EdgeUrl {
  key: string;
  url: string;
  etag: string | null;
  size: number | null;
}

/** Over signed `/t` URLs, as a job's nodes ask for them, so that the URLs we hand out are tested too. */
export async function checkReadBack(checks: Checks, place: Place, expected: readonly Expected[]): Promise<void> {
  const job = await place.client.call<{ id: string; token: string; read: { rootUrl: string } }>("POST", "/v1/jobs", {
    name: "read-back",
    dataset: place.dataset,
    input: { prefixes: [""] },
  });
  const authorization = `Bearer ${job.token}`;
  const asked = await fetch(`${new URL(job.read.rootUrl).origin}/v1/jobs/${job.id}/urls`, {
    method: "POST",
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify({ method: "GET", via: "edge", keys: expected.map(({ key }) => key) }),
  });
  if (!asked.ok) throw new Error(`urls answered ${asked.status}: ${await asked.text()}`);
  const { urls } = (await asked.json()) as { urls: EdgeUrl[] };

  const wrong = { bytes: [] as string[], headers: [] as string[], announced: [] as string[] };
  const begun = performance.now();
  const pairs = expected.map((object, index) => ({ object, signed: urls[index] }));
  await forEachAtOnce(pairs, AT_ONCE, async ({ object, signed }) => {
    const name = JSON.stringify(object.key);
    if (signed?.key !== object.key) throw new Error(`There is no URL for ${name}`);
    const { status, headers, bytes } = await send(signed.url);
    if (status !== 200 || Buffer.compare(bytes, object.bytes) !== 0)
      wrong.bytes.push(`${name}: ${status}, ${bytes.length} bytes`);
    const told = [
      headers["content-type"],
      headers["content-encoding"],
      headers.etag,
      headers["content-length"] ?? lengthOf(object),
    ];
    const wanted = [object.contentType, object.contentEncoding, `"${object.etag}"`, String(object.bytes.length)];
    if (told.join("\n") !== wanted.join("\n")) wrong.headers.push(`${name}: ${told.join(" | ")}`);
    if (signed.etag !== object.etag || signed.size !== object.bytes.length) wrong.announced.push(name);
  });
  const seconds = (performance.now() - begun) / 1000;
  checks.note(`${pairs.length} reads in ${seconds.toFixed(1)} s, ${Math.round(pairs.length / seconds)} a second`);
  checks.equal(`${pairs.length} objects come back byte for byte over /t`, wrong.bytes, []);
  checks.equal("each with its Content-Type, Content-Encoding, Content-Length and the source's ETag", wrong.headers, []);
  checks.equal("each with the size and ETag that were announced with its URL", wrong.announced, []);
}

/** wrangler's development proxy passes HTML through HTMLRewriter, which keeps the bytes and drops their length. */
const lengthOf = ({ contentType, bytes }: Uploaded) =>
  contentType.startsWith("text/html") ? String(bytes.length) : undefined;

interface Row {
  key: string;
  size: number;
  etag: string;
  proof: string;
}

/** The whole manifest, page by page: no key more, no key less. Returns the rows. */
export async function checkManifest(checks: Checks, place: Place, expected: readonly Expected[]): Promise<Row[]> {
  const rows: Row[] = [];
  let cursor = "";
  do {
    const path = `/v1/datasets/${place.dataset}/manifest?limit=1000${cursor === "" ? "" : `&cursor=${cursor}`}`;
    const page = await place.client.call<{ objects: Row[]; cursor?: string }>("GET", path);
    rows.push(...page.objects);
    cursor = page.cursor ?? "";
  } while (cursor !== "");
  // R2 keeps keys in Unicode NFC.
  const wanted = new Map(expected.map((object) => [object.key.normalize("NFC"), object]));
  const found = new Set(rows.map(({ key }) => key));
  checks.equal("the manifest has each uploaded key, once", rows.length, wanted.size);
  checks.equal(
    "it lacks none",
    [...wanted.keys()].filter((key) => !found.has(key)),
    [],
  );
  checks.equal(
    "it has none beside them",
    [...found].filter((key) => !wanted.has(key)),
    [],
  );
  const isOther = ({ key, size, etag, proof }: Row) => {
    const bytes = wanted.get(key)?.bytes ?? new Uint8Array();
    return size !== bytes.length || (proof === "md5" && etag !== md5(bytes));
  };
  checks.equal("its sizes and MD5s are those of the bytes", rows.filter(isOther), []);
  return rows;
}

/** R2 itself is asked: the edge does not tell user metadata. */
export async function checkMetadata(checks: Checks, place: Place, expected: readonly Expected[]): Promise<void> {
  const { endpoint, ...credentials } = place.r2;
  const client = new AwsClient({ ...credentials, region: "auto", service: "s3", retries: 2 });
  const withMetadata = expected.filter(({ metadata }) => Object.keys(metadata).length > 0);
  const wrong: string[] = [];
  await forEachAtOnce(withMetadata, AT_ONCE, async ({ key, metadata }) => {
    const url = `${endpoint}/penstock-datasets/${encodeKey(place.prefix + key)}`;
    const answer = await client.fetch(url, { method: "HEAD" });
    const isKept = Object.entries(metadata).every(
      ([name, value]) => answer.headers.get(`x-amz-meta-${name}`) === value,
    );
    if (!isKept) wrong.push(`${key}: ${answer.status}`);
  });
  checks.equal(`${withMetadata.length} objects keep their user metadata in R2`, wrong, []);
}
