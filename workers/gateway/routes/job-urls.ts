import { jobOf } from "../../adapters/objects.ts";
import { knownJob } from "../../adapters/known-jobs.ts";
import { asked } from "../../adapters/ask.ts";
import { covers } from "../../core/capability/scope.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { checkKey } from "../../core/http/key-path.ts";
import { inputOf, type JobSpec, outputScope } from "../../core/jobs/job.ts";
import { type UrlsBody, urlsBodySchema } from "../../core/jobs/node-requests.ts";
import { checkOnce } from "../../core/jobs/output-keys.ts";
import { refreshAfter } from "../../core/jobs/times.ts";
import { URLS_BODY_MAX_BYTES } from "../../core/limits.ts";
import { storeKey } from "../../core/migration/join.ts";
import type { Result } from "../../core/result.ts";
import { readBody } from "../body.ts";
import { type Ctx, refuse } from "../context.ts";
import { prepareGets, preparePuts, type SignedUrls } from "../jobs/sign-urls.ts";
import { streamOf } from "../stream-of.ts";

/**
 * `POST /v1/jobs/:id/urls`: URLs that read or write one key each, for up to 10,000 keys. All that is refused is refused
 * before the answer begins; its body is made while it is read. With `Accept: application/x-ndjson` it has a line for each
 * URL, and a last one with the times.
 */
export async function urls(c: Ctx): Promise<Response> {
  const body = await readBody(c, urlsBodySchema, URLS_BODY_MAX_BYTES);
  if (!body.ok) return refuse(c, body.failure);
  const { job: id } = c.get("job");
  const found = await knownJob(c.env, id);
  if (!found.ok) return refuse(c, found.failure);
  const spec = found.value;
  const refused = checkScope(body.value, spec);
  if (refused !== null) return refuse(c, refused);
  // As the URLs of R2 say it, in whole seconds.
  const now = Math.floor(Date.now() / 1000) * 1000;
  // Not beyond the job's own life.
  const expiresSeconds = Math.max(1, Math.min(body.value.expiresSeconds, Math.floor((spec.expiresAt - now) / 1000)));
  const begun = await begin(c, spec, body.value, expiresSeconds, now);
  if (!begun.ok) return refuse(c, begun.failure);
  const times = {
    expiresAt: new Date(now + expiresSeconds * 1000).toISOString(),
    refreshAfter: new Date(refreshAfter(now, expiresSeconds)).toISOString(),
    serverTime: new Date(now).toISOString(),
  };
  const isLines = LINES.test(c.req.header("accept") ?? "");
  return new Response(
    streamOf(() => encoded(isLines ? asLines(begun.value, times) : asJson(begun.value, times))),
    {
      headers: {
        "content-type": isLines ? "application/x-ndjson" : "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-request-id": c.get("requestId"),
      },
    },
  );
}

/** A job that has ended gets no URL; PUTs are announced to it once nothing else can refuse them. */
async function begin(
  c: Ctx,
  spec: JobSpec,
  body: UrlsBody,
  expiresSeconds: number,
  now: number,
): Promise<Result<SignedUrls>> {
  const ask = <T>(question: (job: ReturnType<typeof jobOf>) => Promise<Result<T>>): Promise<Result<T>> =>
    asked("The job", async () => question(jobOf(c.env, spec.id)));
  if (body.method === "PUT") {
    const outputs = body.objects.map((output) => ({ ...output, key: storeKey(output.key) }));
    return preparePuts(c, spec, body.objects, expiresSeconds, now, () => ask((job) => job.announce(outputs)));
  }
  const admitted = await ask((job) => job.admit());
  if (!admitted.ok) return admitted;
  return prepareGets(c, spec, body, expiresSeconds, now);
}

function checkScope(body: UrlsBody, spec: JobSpec): Failure | null {
  const isPut = body.method === "PUT";
  const keys = isPut ? body.objects.map(({ key }) => key) : body.keys;
  const isInput = isPut ? () => false : inputOf(spec);
  const own = outputScope(spec);
  for (const [index, key] of keys.entries()) {
    const field = isPut ? `objects.${index}.key` : `keys.${index}`;
    const stored = storeKey(key);
    const checked = checkKey(spec.prefix + stored, field);
    if (!checked.ok) return checked.failure;
    if (isInput(stored) || (own !== null && covers(own, stored))) continue;
    const rule = isPut ? "outside the job's output prefix" : "outside the job's input and output";
    return failure("out-of-scope", `"${key.slice(0, 200)}" is ${rule}.`, { field });
  }
  // One key is one output: of two announcements the URL of one would be of no use.
  return isPut ? checkOnce(keys, (index) => `objects.${index}.key`) : null;
}

const LINES = /(^|,)\s*application\/x-ndjson\s*(;|,|$)/i;

async function* asJson(signed: SignedUrls, times: object): AsyncGenerator<string, void, void> {
  let before = '{"urls":[';
  for await (const run of signed) {
    yield before + run.map((url) => JSON.stringify(url)).join();
    before = ",";
  }
  yield `],${JSON.stringify(times).slice(1)}`;
}

async function* asLines(signed: SignedUrls, times: object): AsyncGenerator<string, void, void> {
  for await (const run of signed) yield run.map((url) => `${JSON.stringify(url)}\n`).join("");
  yield `${JSON.stringify({ end: true, ...times })}\n`;
}

async function* encoded(texts: AsyncGenerator<string, void, void>): AsyncGenerator<Uint8Array, void, void> {
  const encoder = new TextEncoder();
  for await (const text of texts) yield encoder.encode(text);
}
