import { credentialsOf } from "../../adapters/config.ts";
import type { LimitsView } from "../../../durable-objects/source/source.ts";
import { sourceOf } from "../../adapters/objects.ts";
import { createS3Store } from "../../adapters/s3-store.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { configuredLimits, limitsPatchSchema } from "../../core/pressure/limits.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { SourceConfig } from "../../core/source.ts";
import { tokenOf } from "../auth.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";

/** `GET /v1/sources`: what the configuration names, with the limits as they are now; never a credential. */
export async function list(c: Ctx): Promise<Response> {
  const refused = refuseLimited(c);
  if (refused !== null) return refuse(c, refused);
  const named = [...c.get("config").sources];
  const sources = await Promise.all(
    named.map(async ([name, source]) => described(c, name, source, await viewOf(c.env, name, source))),
  );
  return answer(c, { sources });
}

/**
 * `PATCH /v1/sources/:source/limits`: changes the limits while the source is asked. A number, null for none; what is
 * absent stays. A preset replaces all that was changed before, and null goes back to what is configured.
 */
export async function setLimits(c: Ctx): Promise<Response> {
  const refused = refuseLimited(c);
  if (refused !== null) return refuse(c, refused);
  const name = c.req.param("source") ?? "";
  const source = c.get("config").sources.get(name);
  if (source === undefined) return refuse(c, unknownSource(name));
  const patch = await readBody(c, limitsPatchSchema);
  if (!patch.ok) return refuse(c, patch.failure);
  const view = await sourceOf(c.env, name).setLimits(patch.value, configuredLimits(source));
  return answer(c, described(c, name, source, view));
}

/** A limiter that cannot be asked hides no source. */
async function viewOf(env: Env, name: string, source: SourceConfig): Promise<LimitsView | null> {
  try {
    return await sourceOf(env, name).limits(configuredLimits(source));
  } catch (error) {
    console.error(JSON.stringify({ message: "limits not known", source: name, error: String(error) }));
    return null;
  }
}

/** A source as the API shows it. `pressure` is what holds now, by what was learnt; null: nobody can tell. */
function described(c: Ctx, name: string, source: SourceConfig, view: LimitsView | null): object {
  const { endpoint, region, bucket, addressing, preset = "s3" } = source;
  const limits = view === null ? configuredLimits(source) : view.limits;
  return {
    name,
    endpoint,
    region,
    bucket,
    addressing,
    credentials: credentialsOf(c.env, name).ok,
    preset: view?.changed.preset ?? preset,
    limits,
    pressure: view === null ? null : pressureIn(view),
  };
}

function pressureIn({ inForce, learnt: { share, loweredAt, pausedUntil }, holders }: LimitsView): object {
  const time = (at: number) => (at === 0 ? null : new Date(at).toISOString());
  return { ...inForce, share, loweredAt: time(loweredAt), pausedUntil: time(pausedUntil), holders };
}

const unknownSource = (name: string): Failure =>
  failure("unknown-source", `Sources are named in wrangler.toml; "${name}" is not.`);

/** Sources belong to the installation: a token that is limited to datasets learns nothing of them. */
const refuseLimited = (c: Ctx): Failure | null =>
  tokenOf(c).datasets === undefined
    ? null
    : failure("out-of-scope", "Sources are for tokens that are not limited to datasets.");

interface Step {
  step: "sign-in" | "list" | "read";
  ok: boolean;
  code?: string;
  detail: string;
}

/**
 * `POST /v1/sources/:source/check`: signs in, lists one page and reads one byte of its first object that has one.
 * 200 also when something is wrong: the answer says what, in words.
 */
export async function check(c: Ctx): Promise<Response> {
  const refused = refuseLimited(c);
  if (refused !== null) return refuse(c, refused);
  const name = c.req.param("source") ?? "";
  const source = c.get("config").sources.get(name);
  if (source === undefined) return refuse(c, unknownSource(name));
  const steps: Step[] = [];
  const credentials = credentialsOf(c.env, name);
  if (!credentials.ok) return answer(c, { source: name, ok: false, steps: [failed("sign-in", credentials.failure)] });
  const store = createS3Store(source, credentials.value);
  const page = await store.list({ prefix: "", after: null });
  if (!page.ok) {
    const signedIn = SIGNED_IN.has(page.failure.code);
    if (signedIn) steps.push({ step: "sign-in", ok: true, detail: "The source accepts the credentials." });
    steps.push(failed(signedIn ? "list" : "sign-in", page.failure));
    return answer(c, { source: name, ok: false, steps });
  }
  const { objects, next } = page.value;
  steps.push({ step: "sign-in", ok: true, detail: "The source accepts the credentials." });
  const more = next === null ? "" : " and more";
  steps.push({ step: "list", ok: true, detail: `The first page has ${objects.length} objects${more}.` });
  const sample = objects.find(({ size }) => size > 0);
  steps.push(sample === undefined ? NOTHING_TO_READ : readStep(sample.key, await readByte(store, sample.key)));
  return answer(c, { source: name, ok: steps.every((step) => step.ok), steps });
}

/** Refusals that come only after the signature was accepted. */
const SIGNED_IN: ReadonlySet<string> = new Set(["source-forbidden", "source-no-bucket"]);

const NOTHING_TO_READ: Step = { step: "read", ok: true, detail: "There is no object with bytes to read." };

async function readByte(store: ReturnType<typeof createS3Store>, key: string): Promise<Result<number>> {
  const body = await store.get(key, { range: { kind: "bounded", start: 0, end: 0 } });
  if (!body.ok) return body;
  try {
    const bytes = await new Response(body.value.body).arrayBuffer();
    if (bytes.byteLength === 1) return ok(1);
    return fail(failure("source-truncated", `The source announced 1 byte and sent ${bytes.byteLength}.`));
  } catch (error) {
    return fail(failure("source-truncated", `The body broke off: ${String(error)}`));
  }
}

function readStep(key: string, read: Result<number>): Step {
  if (read.ok) return { step: "read", ok: true, detail: `Read a range of "${key}".` };
  if (read.failure.code !== "source-forbidden") return failed("read", read.failure);
  const detail = `The credentials may list but not read ("${key}"): ${read.failure.detail}`;
  return { step: "read", ok: false, code: read.failure.code, detail };
}

const failed = (step: Step["step"], { code, detail }: Failure): Step => ({ step, ok: false, code, detail });
