/** Sealing through the API as a pipeline does it: walk, seal, ask until it is done, list. */
import type { Client } from "../../harness/client.ts";
import { sleep } from "../../harness/instance.ts";
import type { Entry } from "./entries.ts";

/** On a machine that may have other work. */
const WITHIN_MS = 20 * 60_000;

interface SealedVersion {
  number: number;
  state: string;
  problem: string | null;
  objects: number;
  bytes: number;
  derived: string[];
  warnings: string[];
  files: { name: string; bytes: number; sha256: string | null; url: string }[];
}

interface Walk {
  state: string;
  listed: number;
  added: number;
  changed: number;
  removed: number;
  hashed: number;
}

/** Waits until the manifest has what was migrated: its rows come by a queue. */
export async function untilListed(client: Client, dataset: string, objects: number): Promise<void> {
  await until(
    `${dataset}: ${objects} objects in the manifest`,
    () => client.call<{ manifest: { objects: number } }>("GET", `/v1/datasets/${dataset}`),
    ({ manifest }) => manifest.objects === objects,
  );
}

/** Walks the bucket to its end, and reads what has no SHA-256. */
export async function reconcile(client: Client, dataset: string): Promise<Walk> {
  const path = `/v1/datasets/${dataset}/reconcile`;
  await client.call("POST", path, { checksums: ["sha256"] });
  const look = () => client.call<Walk & Record<string, unknown>>("GET", path);
  return until(`the walk of ${dataset}`, look, ({ state }) => state !== "running");
}

/** Seals what is there, and returns it with its files. */
export async function sealVersion(client: Client, dataset: string, body: object = {}): Promise<SealedVersion> {
  const path = `/v1/datasets/${dataset}/versions`;
  const { number } = await client.call<{ number: number }>("POST", path, body);
  const look = () => client.call<SealedVersion & Record<string, unknown>>("GET", `${path}/${number}`);
  const sealed = await until(`version ${number} of ${dataset}`, look, ({ state }) => state !== "sealing");
  if (sealed.state !== "sealed") throw new Error(`${dataset}@${number} is ${sealed.state}: ${sealed.problem}`);
  return sealed;
}

/** Every object of a version, by pages of JSON. */
export async function manifestOf(client: Client, dataset: string, version: number): Promise<Entry[]> {
  const found: Entry[] = [];
  for (let cursor = ""; ;) {
    const query = new URLSearchParams({ version: String(version), limit: "20", ...(cursor === "" ? {} : { cursor }) });
    const path = `/v1/datasets/${dataset}/manifest?${query.toString()}`;
    const page = await client.call<{ objects: Entry[]; cursor?: string }>("GET", path);
    for (const { key, size, etag, md5, sha256, stage, category } of page.objects) {
      found.push({ key, size, etag, md5, sha256, stage, category });
    }
    if (page.cursor === undefined) return found;
    ({ cursor } = page as { cursor: string });
  }
}

/** A root URL that reads this version of a dataset. */
export async function sealedRoot(client: Client, dataset: string, version: number): Promise<string> {
  const body = { prefixes: [""], version: String(version) };
  return (await client.call<{ rootUrl: string }>("POST", `/v1/datasets/${dataset}/capabilities`, body)).rootUrl;
}

async function until<T>(what: string, look: () => Promise<T>, isDone: (seen: T) => boolean): Promise<T> {
  for (const before = Date.now() + WITHIN_MS; ;) {
    const seen = await look();
    if (isDone(seen)) return seen;
    if (Date.now() > before) throw new Error(`${what}: not in time; ${JSON.stringify(seen).slice(0, 1_000)}`);
    await sleep(200);
  }
}
