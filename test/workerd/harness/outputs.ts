import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { configOf } from "../../../workers/adapters/config.ts";
import { directoryOf, jobOf } from "../../../workers/adapters/objects.ts";
import { tokensOf } from "../../../workers/adapters/tokens.ts";
import type { JobSpec } from "../../../workers/core/jobs/job.ts";
import { OUTPUT_GENERATION } from "../../../workers/core/jobs/output-mark.ts";
import { rowOfPut } from "../../harness/rows.ts";
import type { Found } from "../../../durable-objects/gpu-job/outputs.ts";
import { api, type ApiAnswer } from "./api.ts";
import { jobSpec } from "./job.ts";
import { handOver } from "./notify.ts";
import { must, registerDataset } from "./run.ts";

interface Signed {
  url: string;
  headers: Record<string, string>;
}
export interface SignedOutput extends Partial<Signed> {
  key: string;
  size: number;
  upload: "put" | "multipart";
  partSize?: number;
  partCount?: number;
  parts?: ({ number: number; size: number } & Signed)[];
}

/** Registered as the routes do: the Directory knows its place. */
export async function claimed(name: string): Promise<void> {
  const claim = { name, kind: "files", bucket: "DATASETS", prefix: `${name}/`, schedule: null };
  must(await directoryOf(env).claimDataset(claim, `ds_${name}`));
  await registerDataset(name, "nothing/");
}

/** A job on a dataset of this name, whose nodes put below "runs/". */
export async function givenJob(name: string, more: Partial<JobSpec> = {}, seen: Env = env) {
  const spec = jobSpec({
    datasetName: name,
    datasetId: `ds_${name}`,
    prefix: `${name}/`,
    outputPrefix: "runs/",
    lostAfterSeconds: 86_400,
    ...more,
  });
  const job = jobOf(env, spec.id);
  must(await job.create(spec));
  const seconds = Math.floor(Date.now() / 1000);
  const times = { nbf: seconds, exp: seconds + 86_400, jti: crypto.randomUUID() };
  const token = await tokensOf(env, must(configOf(env))).mintJobToken({ job: spec.id, ds: spec.datasetId, ...times });
  const root = `/v1/jobs/${spec.id}`;
  const ask = <T = Record<string, unknown>>(route: string, body: unknown, as: Env = seen): Promise<ApiAnswer<T>> =>
    api<T>(as, `POST ${root}/${route}`, body, token);
  const read = <T = Record<string, unknown>>(route: string): Promise<ApiAnswer<T>> =>
    api<T>(seen, `GET ${root}/${route}`, undefined, token);
  const announce = async (outputs: object[], rest: object = {}, as: Env = seen): Promise<SignedOutput[]> => {
    const answered = await ask<{ outputs: SignedOutput[] }>("outputs", { outputs, ...rest }, as);
    if (answered.status !== 200) throw new Error(JSON.stringify(answered.body));
    return answered.body.outputs;
  };
  return { spec, job, token, root, ask, read, announce };
}
export type GivenJob = Awaited<ReturnType<typeof givenJob>>;

/** Puts an object as who holds the presigned URL does: only where nothing is, with what was signed. */
export async function putBy({ url = "", headers = {} }: Partial<Signed>, bytes: string | Uint8Array) {
  const key = decodeURIComponent(new URL(url).pathname).replace("/penstock-datasets/", "");
  return env.DATASETS.put(key, bytes, {
    onlyIf: { etagDoesNotMatch: "*" },
    httpMetadata: { contentType: headers["content-type"] ?? "" },
    customMetadata: Object.fromEntries(
      Object.entries(headers).flatMap(([name, value]) =>
        name.startsWith("x-amz-meta-") ? [[name.slice("x-amz-meta-".length), value]] : [],
      ),
    ),
  });
}

/** The upload that part URLs are for. */
export const uploadOf = ({ parts = [] }: SignedOutput): string =>
  new URL(parts[0]?.url ?? "https://none").searchParams.get("uploadId") ?? "";

/** Puts all parts of an output, as their URLs do; returns what a commit names. */
export async function putParts(dataset: string, output: SignedOutput, bytes: Uint8Array) {
  const upload = env.DATASETS.resumeMultipartUpload(`${dataset}/${output.key}`, uploadOf(output));
  const sent: { number: number; etag: string }[] = [];
  for (const { number, size } of output.parts ?? []) {
    const start = (number - 1) * (output.partSize ?? 0);
    const { etag } = await upload.uploadPart(number, bytes.slice(start, start + size));
    sent.push({ number, etag: `"${etag}"` });
  }
  return sent;
}

/** Hands what the job has sent to the consumer of the manifest queue, until nothing is open; returns the messages. */
export async function deliverOutbox({ job }: Pick<GivenJob, "job">, seen: Env = env): Promise<{ type: string }[]> {
  const delivered: { type: string }[] = [];
  for (let round = 0; round < 10; round++) {
    const rows = await runInDurableObject(job, (_, { storage }) =>
      storage.sql.exec<{ seq: number; body: string }>("SELECT seq, body FROM outbox ORDER BY seq").toArray(),
    );
    if (rows.length === 0) break;
    for (const { seq, body } of rows) {
      const message = { ...(JSON.parse(body) as { type: string }), seq };
      delivered.push(message);
      await handOver([message], seen);
    }
  }
  return delivered;
}

/** What a commit has found at a key, put for the announcement that its metadata name. */
export function foundAt(key: string, object: R2Object | null, job: string): Found {
  const generation = Number(object?.customMetadata?.[OUTPUT_GENERATION]);
  return { row: rowOfPut(key, object, { writer: job }), generation, isCompleted: false };
}

/** The messages that the job waits for, as they are sent. */
export const outboxOf = ({ job }: Pick<GivenJob, "job">) =>
  runInDurableObject(job, (_, { storage }) =>
    storage.sql
      .exec<{ seq: number; body: string }>("SELECT seq, body FROM outbox ORDER BY seq")
      .toArray()
      .map(({ seq, body }) => ({ ...(JSON.parse(body) as { type: string }), seq })),
  );

/** What the job's object has of an output. */
export const outputIn = ({ job }: Pick<GivenJob, "job">, key: string) =>
  runInDurableObject(job, (_, { storage }) =>
    storage.sql
      .exec<{ state: string; uploadId: string | null }>(
        "SELECT state, upload_id AS uploadId FROM output WHERE key = ?",
        key,
      )
      .toArray()
      .at(0),
  );
