/**
 * URLs for a job's nodes. Whatever may be refused is looked at when they are prepared; each is then made when it is asked
 * for, so that ten thousand of them are never there at once.
 */
import { webHmac } from "../../adapters/web-hmac.ts";
import { scopeBatches } from "../../core/capability/scope-batches.ts";
import { covers } from "../../core/capability/scope.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { formatDataUrl } from "../../core/http/key-path.ts";
import { type JobSpec, outputScope, readScope } from "../../core/jobs/job.ts";
import type { UrlsBody } from "../../core/jobs/node-requests.ts";
import { CAPABILITY_MAX_SCOPES } from "../../core/limits.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { checkPresignable, createPresigner, type PresignRequest } from "../../core/sigv4/presign.ts";
import type { Ctx } from "../context.ts";
import { signedRoot } from "../routes/capabilities.ts";
import { putHeaders } from "./output-urls.ts";
import { type Expected, expectObjects, type Wanted } from "../routes/job-reads.ts";

export interface SignedUrl {
  key: string;
  /** Null for what a sealed version does not hold: of a Zarr array, a chunk of fill values. */
  url: string | null;
  /** To be sent as they are; what is signed differs otherwise. */
  headers: Record<string, string>;
  etag: string | null;
  size: number | null;
}

/** Runs of URLs, in the order of what was asked for; to be read once. */
export type SignedUrls = AsyncGenerator<SignedUrl[], void, void>;

/** URLs that are made at once: some 32 KB of text. */
const RUN = 64;

/** Characters of all URLs that are made at once, and of those of one answer with leases. */
export const URLS_MAX_LENGTH = 16 * 1024 * 1024;
/** Of the claims of a capability that is in the URL of each of its keys: more would make the URLs long, and fewer many. */
const OWN_SCOPE = { scopes: CAPABILITY_MAX_SCOPES - 1, bytes: 2000 };

/**
 * URLs that read these keys, all at once: of a sealed version what was sealed, and no other bytes. Whether the job may read
 * them is the caller's to check. By the edge the capability is in each URL: with many prefixes and keys all of them may be more
 * than an isolate holds. Then those of the first keys are answered, and one at least.
 *
 * @param now milliseconds, of whole seconds, from which `expiresSeconds` count
 */
export async function signGets(
  c: Ctx,
  spec: JobSpec,
  wanted: Wanted,
  expiresSeconds: number,
  now: number,
): Promise<Result<SignedUrl[]>> {
  const prepared = await prepareGets(c, spec, wanted, expiresSeconds, now);
  if (!prepared.ok) return prepared;
  const signed: SignedUrl[] = [];
  let length = 0;
  for await (const run of prepared.value) {
    signed.push(...run);
    for (const { url } of run) length += url?.length ?? 0;
    if (length > URLS_MAX_LENGTH) break;
  }
  return ok(signed);
}

/** The same, each made when it is asked for. */
export async function prepareGets(
  c: Ctx,
  spec: JobSpec,
  wanted: Wanted,
  expiresSeconds: number,
  now: number,
): Promise<Result<SignedUrls>> {
  const expected = await expectObjects(c, spec, wanted);
  if (!expected.ok) return expected;
  if (wanted.via === "edge") return prepareEdge(c, spec, expected.value, expiresSeconds, now);
  // R2 knows nothing of versions: what a version does not hold gets no URL, and what it holds one that reads nothing else.
  const orders = expected.value.map(({ key, object, isSealed }): Order => {
    const headers = isSealed && object !== null ? { "if-match": `"${object.etag}"` } : {};
    const request = isSealed && object === null ? null : { method: "GET" as const, key: storeKey(key), headers };
    return { request, key, etag: object?.etag ?? null, size: object?.size ?? null };
  });
  return prepareR2(c, spec, orders, "keys", expiresSeconds, now);
}

/**
 * A PUT URL signs its length, its type and `if-none-match: *`: it writes once, and only what was announced.
 *
 * @param announce called once nothing else can refuse the URLs; the generations of the announcements, in their order
 */
export async function preparePuts(
  c: Ctx,
  spec: JobSpec,
  objects: Extract<UrlsBody, { method: "PUT" }>["objects"],
  expiresSeconds: number,
  now: number,
  announce: () => Promise<Result<number[]>>,
): Promise<Result<SignedUrls>> {
  const prepare = (generations: readonly number[]) => {
    const orders = objects.map((object, index): Order => {
      const headers = putHeaders(spec, object, generations[index] ?? 0);
      return {
        request: { method: "PUT", key: storeKey(object.key), headers },
        key: object.key,
        etag: null,
        size: object.size,
      };
    });
    return prepareR2(c, spec, orders, "objects", expiresSeconds, now);
  };
  const signable = await prepare([]);
  if (!signable.ok) return signable;
  const announced = await announce();
  return announced.ok ? prepare(announced.value) : announced;
}

/** What one URL of R2 is made from; no request: there is none. */
interface Order extends Omit<SignedUrl, "url" | "headers"> {
  request: Required<Pick<PresignRequest, "method" | "key" | "headers">> | null;
}

async function prepareR2(
  c: Ctx,
  spec: JobSpec,
  orders: readonly Order[],
  field: "keys" | "objects",
  expiresSeconds: number,
  now: number,
): Promise<Result<SignedUrls>> {
  const { buckets, r2Endpoint: endpoint, r2Credentials } = c.get("config");
  const bucket = buckets.get(spec.bucket);
  if (bucket === undefined) return fail(failure("unknown-bucket", `"${spec.bucket}" has no name in [vars.BUCKETS].`));
  const presign = await createPresigner(
    webHmac,
    { endpoint, region: "auto", addressing: "path", ...r2Credentials },
    now,
  );
  const requestOf = (request: NonNullable<Order["request"]>): PresignRequest => {
    return { ...request, bucket, key: spec.prefix + request.key, expiresSeconds };
  };
  const refused = firstRefusal(orders, field, requestOf);
  if (refused !== null) return fail(refused);
  const configured = presign({ method: "GET", bucket, key: "any", expiresSeconds });
  if (!configured.ok) return configured;

  const signed = ({ request, key, etag, size }: Order): SignedUrl => {
    const url = request === null ? null : presign(requestOf(request));
    if (url?.ok === false) throw new Error(url.failure.detail); // Not after what was looked at above.
    return { key, url: url?.value ?? null, headers: request?.headers ?? {}, etag, size };
  };
  async function* urls(): SignedUrls {
    for (let at = 0; at < orders.length; at += RUN) yield orders.slice(at, at + RUN).map(signed);
  }
  return ok(urls());
}

function firstRefusal(
  orders: readonly Order[],
  field: string,
  requestOf: (request: NonNullable<Order["request"]>) => PresignRequest,
): Failure | null {
  for (const [index, { request }] of orders.entries()) {
    const refused = request === null ? null : checkPresignable(requestOf(request));
    if (refused !== null) return { ...refused, field: `${field}.${index}${field === "objects" ? ".key" : ""}` };
  }
  return null;
}

/**
 * By the edge: one capability for all keys that the job's root covers, another for its outputs, and for keys that the root
 * does not cover (a glob matches them, or the input names more than fit) one for each run of them.
 */
async function prepareEdge(
  c: Ctx,
  spec: JobSpec,
  expected: readonly Expected[],
  expiresSeconds: number,
  now: number,
): Promise<Result<SignedUrls>> {
  const dataset = { id: spec.datasetId, name: spec.datasetName };
  const nowSeconds = now / 1000;
  const rootOf = async (scope: { prefixes: string[]; keys: string[] }, more: { version?: string }) => {
    const root = await signedRoot(c, dataset, scope, spec.id, expiresSeconds, { ...more, nowSeconds });
    return "failure" in root ? fail(root.failure) : ok(root.rootUrl.slice(0, -1));
  };
  const own = outputScope(spec);
  const scope = readScope(spec);
  const { version } = spec;
  const read = await rootOf(scope, { version });
  if (!read.ok) return read;
  const outputs = own === null ? read : await rootOf(own, {});
  if (!outputs.ok) return outputs;
  const bases = { read: read.value, outputs: outputs.value };
  const baseOf = (key: string): string | null =>
    own !== null && covers(own, key) ? bases.outputs : covers(scope, key) ? bases.read : null;

  async function* urls(): SignedUrls {
    const uncovered = expected.map(({ key }) => storeKey(key)).filter((key) => baseOf(key) === null);
    const batches = scopeBatches(uncovered, OWN_SCOPE);
    let batch = { base: "", left: 0 };
    const nextBatch = async () => {
      const keys = batches.next().value ?? [];
      const root = await rootOf({ prefixes: [], keys }, { version });
      if (!root.ok) throw new Error(root.failure.detail); // They fit a capability.
      return { base: root.value, left: keys.length };
    };
    for (let at = 0; at < expected.length; at += RUN) {
      const run: SignedUrl[] = [];
      for (const { key, object } of expected.slice(at, at + RUN)) {
        const stored = storeKey(key);
        let base = baseOf(stored);
        if (base === null) {
          if (batch.left === 0) batch = await nextBatch();
          batch.left--;
          base = batch.base;
        }
        const url = formatDataUrl(base, stored);
        run.push({ key, url, headers: {}, etag: object?.etag ?? null, size: object?.size ?? null });
      }
      yield run;
    }
  }
  return ok(urls());
}
