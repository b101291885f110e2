/** A dataset that is migrated from a server: where it is, and runs of it. */
import { type Client, followMigration, type Migration } from "../harness/client.ts";
import type { S3Address } from "./s3-client.ts";

/** R2 forgets nothing for longer than this, in seconds, once an object was read. */
export const LIVE_TTL_SECONDS = 1;
const TIMEOUT_MS = 600_000;

export interface Place {
  client: Client;
  /** What the client speaks to, for answers that are no JSON. */
  api: { url: string; token: string };
  dataset: string;
  /** The dataset's prefix in R2. */
  prefix: string;
  /** The instance's R2, by its own S3 endpoint. */
  r2: S3Address;
  /** The folder of the instance's simulator. */
  state: string;
}

/** The status of a run, with what the demo needs nothing of. */
export interface Run extends Migration {
  verified: { objects: number; bytes: number };
  extraneous: { objects: number; deleted: number };
  estimate: { objects: number; bytes: number; requests: Record<string, number> };
  hazards: Record<string, { objects: number; keys: string[] } | undefined>;
}

/** Registers the dataset, with the source of that name in the instance's configuration. */
export async function register({ client, dataset, prefix }: Place, name: string, sourcePrefix: string): Promise<void> {
  await client.call("PUT", `/v1/datasets/${dataset}`, {
    kind: "files",
    prefix,
    source: { name, prefix: sourcePrefix },
    liveTtlSeconds: LIVE_TTL_SECONDS,
  });
}

/** Runs a migration of the dataset to its end; `how`: the fields of the request. */
export async function migrate({ client, dataset }: Place, how: Record<string, unknown> = {}): Promise<Run> {
  const { id } = await client.call<{ id: string }>("POST", "/v1/migrations", { dataset, ...how });
  return (await followMigration(client, id, { timeoutMs: TIMEOUT_MS })) as Run;
}

/** State, and the objects that were copied, skipped and failed. */
export const countsOf = ({ state, copied, skipped, failed }: Run) => [
  state,
  copied.objects,
  skipped.objects,
  failed.objects,
];

export interface ReportLine {
  key: string;
  outcome: string;
  size: number | null;
  proof?: string;
  code?: string;
}

/** The whole report of a run that has ended. */
export async function reportOf({ api }: Place, { id }: Run): Promise<ReportLine[]> {
  const lines: ReportLine[] = [];
  for (let path: string | undefined = `/v1/migrations/${id}/report`; path !== undefined;) {
    const answer: Response = await fetch(`${api.url}${path}`, { headers: { authorization: `Bearer ${api.token}` } });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`The report of ${id} answered ${answer.status}: ${text}`);
    for (const line of text.split("\n").slice(0, -1)) lines.push(JSON.parse(line) as ReportLine);
    path = /<([^>]+)>; rel="next"/.exec(answer.headers.get("link") ?? "")?.[1];
  }
  return lines;
}
