/** Reads a dataset back as its users do, over signed URLs and the manifest. */
import { send } from "../e2e/raw-http.ts";
import type { Checks } from "../harness/checks.ts";
import { difference, type Expected, NONE } from "./expected.ts";
import { forEachAtOnce, shown } from "./fill.ts";
import type { Place } from "./place.ts";

const AT_ONCE = 16;

interface EdgeUrl {
  key: string;
  url: string;
  etag: string | null;
  size: number | null;
}

/** At most 10,000 over signed `/t` URLs, as a job's nodes ask for them, so that the URLs we hand out are tested too. */
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
    const name = shown(object.key);
    if (signed?.key !== object.key) throw new Error(`There is no URL for ${name}`);
    const { status, headers, bytes } = await send(signed.url);
    if (status !== 200 || Buffer.compare(bytes, object.bytes) !== 0)
      wrong.bytes.push(`${name}: ${status}, ${bytes.length} bytes`);
    const type = object.headers["content-type"] ?? "application/octet-stream";
    const told = {
      "content-type": headers["content-type"],
      "content-encoding": headers["content-encoding"],
      "content-language": headers["content-language"],
      etag: headers.etag,
      "content-length": headers["content-length"] ?? withoutLength(object),
    };
    const wanted = {
      "content-type": type,
      "content-encoding": object.headers["content-encoding"],
      "content-language": object.headers["content-language"],
      etag: `"${object.etag}"`,
      "content-length": String(object.bytes.length),
    };
    if (JSON.stringify(told) !== JSON.stringify(wanted)) wrong.headers.push(`${name}: ${JSON.stringify(told)}`);
    if (signed.etag !== object.etag || signed.size !== object.bytes.length) wrong.announced.push(name);
  });
  const seconds = (performance.now() - begun) / 1000;
  checks.note(`${pairs.length} reads in ${seconds.toFixed(1)} s, ${Math.round(pairs.length / seconds)} a second`);
  checks.equal(`${pairs.length} objects come back byte for byte over /t`, wrong.bytes, []);
  checks.equal("each with its type, coding, language, length and the source's ETag", wrong.headers, []);
  checks.equal("each with the size and ETag that were announced with its URL", wrong.announced, []);
}

/** wrangler's development proxy passes HTML through HTMLRewriter, which keeps the bytes and drops their length. */
const withoutLength = ({ headers, bytes }: Expected) =>
  headers["content-type"]?.startsWith("text/html") === true ? String(bytes.length) : undefined;

interface Row {
  key: string;
  size: number;
  etag: string;
  proof: string;
}

/** The whole manifest, page by page: no key more, no key less, each with its size, ETag and proof. */
export async function checkManifest(checks: Checks, place: Place, expected: readonly Expected[]): Promise<void> {
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
  const names = rows.map(({ key }) => key);
  checks.equal("the manifest has each key once, and none beside them", difference(names, [...wanted.keys()]), NONE);
  const others = rows.flatMap(({ key, size, etag, proof }) => {
    const object = wanted.get(key);
    if (object === undefined) return [];
    const isEqual = object.proof === "parts" || etag === object.etag;
    if (size === object.bytes.length && proof === object.proof && isEqual) return [];
    return [`${shown(key)}: ${proof}, not ${object.proof}; ${etag}; ${size} bytes`];
  });
  checks.equal("its sizes are those of the bytes, and each has the strongest proof that there is", others, []);
}
