/** What a script of another origin may ask of the data plane, what it sees of the answers, and what it must not see. */
import { createHash } from "node:crypto";
import type { Checks } from "../../harness/checks.ts";
import type { Stage } from "../stage.ts";
import { fetchSeen, fetchTimed, type Seen } from "./in-page.ts";
import type { Page } from "./page.ts";

const SHARD = "precip/c/0/0";
/** One for each check that counts preflights: a browser remembers them by URL. */
const CHUNKS = ["0.0", "0.1", "0.2", "0.3", "1.0", "1.1", "1.2", "1.3"].map((name) => `precip/${name}`);

export async function checkCrossOrigin(checks: Checks, on: Stage, page: Page): Promise<void> {
  const root = await on.rootUrl("precip-v3");
  const { bytes } = need(on.objectsOf("precip-v3").get(SHARD), SHARD);
  const whole = await page.run(fetchSeen, root + SHARD);
  checks.equal("GET is a 200 with every byte", [whole.status, whole.sha256], [200, sha256(bytes)]);
  const size = String(bytes.length);
  const etag = `"${createHash("md5").update(bytes).digest("hex")}"`;
  const told = pick(whole, ["etag", "content-length", "accept-ranges"]);
  checks.equal("a script sees ETag, Content-Length and Accept-Ranges", told, [etag, size, "bytes"]);
  const [modified = null, cached = null] = pick(whole, ["last-modified", "cache-status"]);
  checks.that("it sees Last-Modified", Date.parse(modified ?? "") > 0, modified);
  checks.that("it sees Cache-Status", cached?.startsWith("penstock;") === true, cached);
  const again = await page.run(fetchSeen, root + SHARD);
  checks.equal("GET again is a 200 with every byte to the script", [again.status, again.sha256], [200, sha256(bytes)]);
  const asked = () => page.statuses.filter(({ url }) => url === root + SHARD).map(({ status }) => status);
  await page.find(() => asked()[1]);
  checks.equal("which the browser asked for by ETag and had already: a 304", asked(), [200, 304]);
  const head = await page.run(fetchSeen, root + SHARD, { method: "HEAD" });
  checks.equal("HEAD tells it the size", [head.status, ...pick(head, ["content-length", "etag"])], [200, size, etag]);
  const known = await page.run(fetchSeen, root + SHARD, { headers: { "if-none-match": etag } });
  checks.equal(
    "If-None-Match with the ETag is a 304",
    [known.status, known.size, ...pick(known, ["etag"])],
    [304, 0, etag],
  );

  const range = await page.run(fetchSeen, root + SHARD, { headers: { range: "bytes=3-18" } });
  checks.equal(
    "a range is a 206 with those bytes, and a script sees which",
    [range.status, range.sha256, ...pick(range, ["content-range", "content-length"])],
    [206, sha256(bytes.subarray(3, 19)), `bytes 3-18/${size}`, "16"],
  );
  await checkPreflights(checks, on, page);
  await checkRefusals(checks, on, page);
  await checkControlApi(checks, on, page);
}

async function checkPreflights(checks: Checks, on: Stage, page: Page): Promise<void> {
  const root = await on.rootUrl("precip-v2");
  const chunks = CHUNKS.map((key) => ({ url: root + key, ...need(on.objectsOf("precip-v2").get(key), key) }));
  const next = () => need(chunks.shift(), "chunk");
  const asked = (url: string) => page.preflights.find((preflight) => preflight.url === url);

  const cases: [string, Record<string, string>, number, (bytes: Uint8Array) => Uint8Array][] = [
    ["a suffix range", { range: "bytes=-16" }, 206, (bytes) => bytes.subarray(-16)],
    ["a range of two", { range: "bytes=0-3,8-11" }, 200, (bytes) => bytes],
    ["If-None-Match", { "if-none-match": '"another"' }, 200, (bytes) => bytes],
    ["If-Match and Cache-Control", { "if-match": "*", "cache-control": "no-cache" }, 200, (bytes) => bytes],
    ["If-Range", { "if-range": '"another"', range: "bytes=-16" }, 200, (bytes) => bytes],
  ];
  for (const [what, headers, status, part] of cases) {
    const { url, bytes } = next();
    const seen = await page.run(fetchSeen, url, { headers });
    checks.equal(
      `${what} is a ${status} with the right bytes`,
      [seen.status, seen.sha256],
      [status, sha256(part(bytes))],
    );
    const preflight = await page.find(() => asked(url));
    checks.equal("after a preflight that asked for it", preflight?.headers, Object.keys(headers).sort().join(","));
  }

  const { url, bytes } = next();
  const [, capability = ""] = /\/t\/([^/]+)\//.exec(url) ?? [];
  const bare = url.replace(`/t/${capability}/`, "/d/");
  const authorization = `Bearer ${capability}`;
  const signed = await page.run(fetchSeen, bare, { headers: { authorization } });
  checks.equal("Authorization on /d is a 200 with every byte", [signed.status, signed.sha256], [200, sha256(bytes)]);
  const preflight = await page.find(() => asked(bare));
  checks.equal("after a preflight that had no token", preflight?.headers, "authorization");
  const part = await page.run(fetchSeen, bare, { headers: { authorization, range: "bytes=-16" } });
  checks.equal("so is a range with it", [part.status, part.sha256], [206, sha256(bytes.subarray(-16))]);
  // Events come in order: once the last request's preflight is there, one of the request before would be, too.
  const last = next().url;
  await page.run(fetchSeen, last, { headers: { range: "bytes=-16" } });
  await page.find(() => asked(last));
  const count = page.preflights.filter((each) => each.url === bare).length;
  checks.equal("which needed no preflight of its own: the first one holds for the URL", count, 1);

  for (const [what, init] of [
    ["PUT", { method: "PUT", body: "x" }],
    ["DELETE", { method: "DELETE" }],
    ["a header that the data plane does not know", { headers: { "x-other": "1" } }],
  ] as const) {
    const stopped = await page.run(fetchSeen, last, init);
    checks.that(`${what} is stopped by the preflight`, stopped.failed !== null, stopped);
  }
  const reasons = () => page.failures.filter((failure) => failure.url === last).map(({ reason }) => reason);
  await page.find(() => (reasons().length >= 3 ? true : undefined));
  const method = "MethodDisallowedByPreflightResponse";
  const expected = [method, method, "HeaderDisallowedByPreflightResponse"];
  checks.equal("and for no other reason", reasons(), expected);
}

/** A refusal that a script cannot read is to zarrita a broken network, and a missing chunk an error. */
async function checkRefusals(checks: Checks, on: Stage, page: Page): Promise<void> {
  const root = await on.rootUrl("precip-v3");
  const narrow = await on.rootUrl("precip-v3", { prefixes: ["lat/"] });
  const { size } = await page.run(fetchSeen, root + SHARD);
  // A browser that holds the object answers a range past its end by itself.
  const past: RequestInit = { headers: { range: `bytes=${size}-` }, cache: "no-store" };
  const cases: [string, string, RequestInit, number, string][] = [
    ["a missing key", `${root}precip/c/9/9`, {}, 404, "object-not-found"],
    ["a key outside the capability", narrow + SHARD, {}, 403, "out-of-scope"],
    ["a forged capability", (root + SHARD).replace(/\/t\/[^/]+/, "/t/forged"), {}, 401, "invalid-token"],
    ["no token", (root + SHARD).replace(/\/t\/[^/]+/, "/d"), {}, 401, "missing-token"],
    ["a range past the end", root + SHARD, past, 416, "range-not-satisfiable"],
    ["If-Match with another ETag", root + SHARD, { headers: { "if-match": '"another"' } }, 412, "precondition-failed"],
    ["POST", root + SHARD, { method: "POST" }, 405, "method-not-allowed"],
  ];
  for (const [what, url, init, status, code] of cases) {
    const seen = await page.run(fetchSeen, url, init);
    checks.equal(`${what} is a ${status} to a script, with its code`, [seen.status, codeOf(seen)], [status, code]);
    if (status === 416) checks.equal("and the size", pick(seen, ["content-range"]), [`bytes */${size}`]);
  }
}

/** The page's reader may be signed in elsewhere: what answers curl must not answer a page. */
async function checkControlApi(checks: Checks, on: Stage, page: Page): Promise<void> {
  const path = "/v1/datasets";
  const listed = await on.client.call<{ datasets?: unknown[] }>("GET", path);
  const url = new URL(path, on.r2.endpoint).href;
  const plain = await page.run(fetchSeen, url);
  const withToken = await page.run(fetchSeen, url, { headers: { authorization: "Bearer pst_some-token" } });
  const reasons = () => page.failures.filter((failure) => failure.url === url).map(({ reason }) => reason);
  await page.find(() => (reasons().length >= 2 ? true : undefined));
  checks.that("the control API answers its client", Object.keys(listed).length > 0, listed);
  checks.that("a script of another origin sees nothing of it", plain.failed !== null && plain.text === "", plain);
  checks.that("nor may it send a token", withToken.failed !== null, withToken);
  const expected = ["MissingAllowOriginHeader", "PreflightMissingAllowOriginHeader"];
  checks.equal("since the API names no origin", reasons(), expected);
}

/** Where the time went, to the script that waited for it. */
export async function checkTiming(checks: Checks, on: Stage, page: Page): Promise<void> {
  const url = (await on.rootUrl("precip-v3")) + SHARD;
  const { inHeader, inEntry } = await page.run(fetchTimed, url);
  const steps = ["auth", "resolve", "cache", "r2"];
  checks.equal("a script sees Server-Timing, step by step", inHeader, steps);
  checks.equal("and so does the page's own list of what it waited for", inEntry, steps);
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const pick = ({ headers }: Seen, names: string[]): (string | null)[] => names.map((name) => headers[name] ?? null);

function codeOf({ text }: Seen): unknown {
  try {
    return (JSON.parse(text) as { code?: unknown }).code;
  } catch {
    return null;
  }
}

function need<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`There is no ${what}`);
  return value;
}
