import type { Checkpoint } from "../../../durable-objects/gpu-job/checkpoints.ts";
import type { Announced, KnownOutput } from "../../../durable-objects/gpu-job/outputs.ts";
import { asked } from "../../adapters/ask.ts";
import { knownJob } from "../../adapters/known-jobs.ts";
import { jobOf } from "../../adapters/objects.ts";
import { r2StoreOf } from "../../adapters/r2-stores.ts";
import { covers } from "../../core/capability/scope.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { checkKey } from "../../core/http/key-path.ts";
import { type JobSpec, outputScope } from "../../core/jobs/job.ts";
import { checkOnce, quoted, storeKeys, storeKeysOnce } from "../../core/jobs/output-keys.ts";
import {
  abortBodySchema,
  checkHashed,
  checkLooks,
  commitBodySchema,
  type OutputBody,
  outputPartsBodySchema,
  outputsBodySchema,
  planOutput,
  wrongParts,
} from "../../core/jobs/outputs.ts";
import { PART_URLS_IN_ALL_MAX, PART_URLS_MAX, URLS_BODY_MAX_BYTES } from "../../core/limits.ts";
import { storeKey } from "../../core/migration/join.ts";
import { partRange } from "../../core/migration/parts.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { ObjectStore } from "../../ports/object-store.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { checkFree, openUploads } from "../jobs/open-uploads.ts";
import { type OutputSigner, outputSigner, type SignedRequest } from "../jobs/output-urls.ts";
import { verifyOutputs } from "../jobs/verify-outputs.ts";

/** `POST /v1/jobs/:id/outputs`: URLs by which outputs are put, in one piece or in parts. The same again: fresh URLs. */
export async function announce(c: Ctx): Promise<Response> {
  const body = await readBody(c, outputsBodySchema, URLS_BODY_MAX_BYTES);
  if (!body.ok) return refuse(c, body.failure);
  const at = await openJob(c);
  if (!at.ok) return refuse(c, at.failure);
  const { spec, store } = at.value;
  const wanted = planAll(body.value.outputs, spec, c.get("config").partBytes);
  if (!wanted.ok) return refuse(c, wanted.failure);
  const keys = wanted.value.map(({ key }) => key);
  const known = await ask(c, (job) => job.knownOutputs(keys));
  if (!known.ok) return refuse(c, known.failure);
  // What is being put is there perhaps; of all else nothing is at the key, or nothing is announced.
  const underWay = new Set(known.value.filter(({ state }) => IS_TAKEN.has(state)).map(({ key }) => key));
  const refused = await checkFree(
    c.env,
    store,
    spec,
    keys.filter((key) => !underWay.has(key)),
  );
  if (refused !== null) return refuse(c, refused);
  const announced = await ask(c, (job) => job.announceOutputs(wanted.value, body.value.checkpoint ?? null));
  if (!announced.ok) return refuse(c, announced.failure);
  const opened = await openUploads(c.env, store, spec, announced.value);
  if (!opened.ok) return refuse(c, opened.failure);
  const signer = await outputSigner(c, spec, { seconds: body.value.expiresSeconds, until: spec.expiresAt });
  if (!signer.ok) return refuse(c, signer.failure);
  const inParts = opened.value.filter(({ partBytes }) => partBytes !== null).length;
  const most = Math.min(PART_URLS_MAX, Math.floor(PART_URLS_IN_ALL_MAX / Math.max(1, inParts)));
  const outputs: object[] = [];
  for (const [index, output] of opened.value.entries()) {
    const signed = signOutput(signer.value, output, most);
    if (!signed.ok) return refuse(c, signed.failure);
    outputs.push({ key: body.value.outputs[index]?.key, size: output.size, ...signed.value });
  }
  return answer(c, { outputs, ...signer.value.times });
}

/** States in which a key is the job's already, or is not to be had: the job says which. */
const IS_TAKEN: ReadonlySet<KnownOutput["state"]> = new Set(["announced", "committed", "aborting", "deleting", "kept"]);

/** `POST /v1/jobs/:id/outputs/parts`: fresh URLs for parts of one output. */
export async function parts(c: Ctx): Promise<Response> {
  const body = await readBody(c, outputPartsBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const at = await openJob(c);
  if (!at.ok) return refuse(c, at.failure);
  const { spec, store } = at.value;
  const keys = storeKeys([body.value.key], () => "key");
  if (!keys.ok) return refuse(c, keys.failure);
  const found = await ask(c, (job) => job.knownOutputs(keys.value));
  if (!found.ok) return refuse(c, found.failure);
  const output = found.value.find(({ state, partBytes }) => state === "announced" && partBytes !== null);
  if (output === undefined) {
    const detail = `${quoted(body.value.key)} is not being put in parts; announce it first, with "multipart": true.`;
    return refuse(c, failure("output-not-announced", detail, { field: "key" }));
  }
  const count = countOf(output);
  const beyond = body.value.parts.find((number) => number > count);
  if (beyond !== undefined) {
    return refuse(c, {
      ...wrongParts(`${quoted(output.key)} has ${count} parts, and none is ${beyond}.`),
      field: "parts",
    });
  }
  const opened = await openUploads(c.env, store, spec, [output]);
  if (!opened.ok) return refuse(c, opened.failure);
  const signer = await outputSigner(c, spec, { seconds: body.value.expiresSeconds, until: spec.expiresAt });
  if (!signer.ok) return refuse(c, signer.failure);
  const signed = signParts(signer.value, opened.value[0] ?? output, body.value.parts);
  if (!signed.ok) return refuse(c, signed.failure);
  return answer(c, { key: body.value.key, partCount: count, parts: signed.value, ...signer.value.times });
}

/** `POST /v1/jobs/:id/outputs/commit`: looks at outputs in the bucket, then has the manifest say that they are there. */
export async function commit(c: Ctx): Promise<Response> {
  const body = await readBody(c, commitBodySchema, URLS_BODY_MAX_BYTES, { wayOut: "commit fewer outputs at once" });
  if (!body.ok) return refuse(c, body.failure);
  const { checkpoint: name = null, outputs: named } = body.value;
  const at = await openJob(c);
  if (!at.ok) return refuse(c, at.failure);
  const { spec, store } = at.value;
  const checked = storeKeysOnce(
    named.map(({ key }) => key),
    (index) => `outputs.${index}.key`,
  );
  if (!checked.ok) return refuse(c, checked.failure);
  const keys = checked.value;
  const found = await ask(c, (job) => job.toCommit(keys, name));
  if (!found.ok) return refuse(c, found.failure);
  const { outputs } = found.value;
  const refused = checkGroup(outputs, keys, name);
  if (refused !== null) return refuse(c, refused);
  const open = outputs.filter(({ state }) => state === "announced");
  const tooMuch = checkHashed(open) ?? checkLooks(open, "Commit fewer outputs at once.");
  if (tooMuch !== null) return refuse(c, tooMuch);
  const partsOf = new Map(named.map(({ key, parts: sent }) => [storeKey(key), sent]));
  const verified = await verifyOutputs(
    store,
    spec,
    open.map((output) => ({ output, parts: partsOf.get(output.key) })),
  );
  const failed = verified.find((each) => !each.ok);
  if (failed !== undefined && !failed.ok) return refuse(c, failed.failure);
  const there = verified.flatMap((each) => (each.ok ? [each.value] : []));
  const committed = there.length === 0 ? ok(null) : await ask(c, (job) => job.commitOutputs(there));
  if (!committed.ok) return refuse(c, committed.failure);
  // As the job has it now: who has committed at the same time has been answered the same.
  const after = there.length === 0 ? found : await ask(c, (job) => job.toCommit(keys, name));
  return after.ok ? answer(c, committedView(after.value)) : refuse(c, after.failure);
}

function checkGroup(outputs: readonly KnownOutput[], keys: readonly string[], name: string | null): Failure | null {
  if (name === null) return null;
  if (outputs.length === 0) {
    return failure("output-missing", `The checkpoint "${name}" has no outputs; announce them.`, {
      field: "checkpoint",
    });
  }
  const own = new Set(outputs.map(({ key }) => key));
  const other = keys.find((key) => !own.has(key));
  if (other === undefined) return null;
  const detail = `${quoted(other)} was not announced for the checkpoint "${name}"; commit it by itself.`;
  return failure("output-not-announced", detail, { field: "outputs" });
}

/** `POST /v1/jobs/:id/outputs/abort`: what was announced and is not committed is forgotten, and R2 cleaned of it. */
export async function abort(c: Ctx): Promise<Response> {
  const body = await readBody(c, abortBodySchema, URLS_BODY_MAX_BYTES);
  if (!body.ok) return refuse(c, body.failure);
  const { keys = [], checkpoint = null } = body.value;
  const checked = storeKeys(keys, (index) => `keys.${index}`);
  if (!checked.ok) return refuse(c, checked.failure);
  const aborted = await ask(c, (job) => job.abortOutputs(checked.value, checkpoint));
  if (!aborted.ok) return refuse(c, aborted.failure);
  return answer(c, { aborted: aborted.value, serverTime: new Date().toISOString() });
}

type Job = ReturnType<typeof jobOf>;

/** Asks the job of the token. */
const ask = <T>(c: Ctx, question: (job: Job) => Promise<Result<T>>): Promise<Result<T>> =>
  asked("The job", () => question(jobOf(c.env, c.get("job").job)));

async function openJob(c: Ctx): Promise<Result<{ spec: JobSpec; store: ObjectStore }>> {
  const spec = await knownJob(c.env, c.get("job").job);
  if (!spec.ok) return spec;
  const store = r2StoreOf(c.env, spec.value.bucket);
  return store === null ? fail(failure("unknown-bucket")) : ok({ spec: spec.value, store });
}

/** Outputs as they are kept; refused outside of the job's prefix, and where one is named twice. */
function planAll(outputs: readonly OutputBody[], spec: JobSpec, partBytes: number): Result<Announced[]> {
  const own = outputScope(spec);
  const twice = checkOnce(
    outputs.map(({ key }) => key),
    (index) => `outputs.${index}.key`,
  );
  const planned: Announced[] = [];
  for (const [index, output] of outputs.entries()) {
    const field = `outputs.${index}`;
    const key = storeKey(output.key);
    const checked = checkKey(spec.prefix + key, `${field}.key`);
    if (!checked.ok) return checked;
    if (own === null || !covers(own, key)) {
      const detail = `${quoted(output.key)} is outside the job's output prefix.`;
      return fail(failure("out-of-scope", detail, { field: `${field}.key` }));
    }
    const plan = planOutput(output, partBytes, field);
    if (!plan.ok) return plan;
    const { size, contentType, sha256 = null } = output;
    planned.push({ key, size, contentType, sha256, partBytes: plan.value?.partBytes ?? null });
  }
  return twice === null ? ok(planned) : fail(twice);
}

const countOf = ({ size, partBytes }: KnownOutput): number => (partBytes === null ? 1 : Math.ceil(size / partBytes));

function signOutput(signer: OutputSigner, output: KnownOutput, most: number): Result<object> {
  if (output.partBytes === null) {
    const signed = signer.put(output);
    return signed.ok ? ok({ upload: "put", ...signed.value }) : signed;
  }
  const partCount = countOf(output);
  const numbers = Array.from({ length: Math.min(partCount, most) }, (_, index) => index + 1);
  const signed = signParts(signer, output, numbers);
  if (!signed.ok) return signed;
  return ok({ upload: "multipart", partSize: output.partBytes, partCount, parts: signed.value });
}

type SignedPart = { number: number; size: number } & SignedRequest;

function signParts(
  signer: OutputSigner,
  { key, size, partBytes, uploadId }: KnownOutput,
  numbers: readonly number[],
): Result<SignedPart[]> {
  if (partBytes === null || uploadId === null) return fail(failure("internal"));
  const plan = { partBytes, parts: Math.ceil(size / partBytes) };
  const signed: SignedPart[] = [];
  for (const number of numbers) {
    const { start, end } = partRange(plan, size, number);
    const part = { number, size: end - start + 1 };
    const url = signer.part(key, uploadId, part);
    if (!url.ok) return url;
    signed.push({ ...part, ...url.value });
  }
  return ok(signed);
}

function committedView({ outputs, checkpoint }: { outputs: KnownOutput[]; checkpoint: Checkpoint | null }) {
  const at = checkpoint?.committedAt ?? null;
  return {
    outputs: outputs.map(({ key, size, etag, sha256 }) => ({ key, size, etag, sha256 })),
    checkpoint: checkpoint && { name: checkpoint.name, committedAt: at === null ? null : new Date(at).toISOString() },
    serverTime: new Date().toISOString(),
  };
}
