/** What the clients read: stores and a file that went from a source through the queues to R2. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cubes, records } from "../../examples/demo/data.ts";
import { type InstanceSecrets, startFreshInstance } from "../e2e/fresh-instance.ts";
import type { Checks } from "../harness/checks.ts";
import { type Client, createClient, followMigration } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { fillSource, type SourceObject, startLocalSource } from "../harness/local-source.ts";
import { corpus, plainCubes } from "./versions/corpus.ts";

export const JSONL = "raw/flights/flights-200k.jsonl";

/** A dataset each: the prefix at the source, which is also the one in R2. */
const DATASETS = {
  "precip-v3": { kind: "zarr", prefix: "cubes/precip-v3.zarr/" },
  "precip-v2": { kind: "zarr", prefix: "cubes/precip-v2.zarr/" },
  "holes-v3": { kind: "zarr", prefix: "holes-v3/" },
  "holes-v2": { kind: "zarr", prefix: "holes-v2/" },
  records: { kind: "files", prefix: "records/" },
  matrix: { kind: "zarr", prefix: "matrix/" },
  files: { kind: "files", prefix: "files/" },
  flights: { kind: "files", prefix: "flights/" },
  "plain-v3": { kind: "zarr", prefix: "plain-v3/" },
  "plain-v2": { kind: "zarr", prefix: "plain-v2/" },
} as const;
export type Name = keyof typeof DATASETS;
const NAMES = Object.keys(DATASETS) as Name[];

/** Over a thousand objects, on a machine that may have other work. */
const MIGRATES_WITHIN_MS = 1_800_000;

export interface Stage {
  client: Client;
  /** The API's origin, and an administrator's token, as a shell has them. */
  url: string;
  token: string;
  /** What the API answers, where that is no JSON document. */
  text(path: string): Promise<string>;
  r2: InstanceSecrets["r2"] & { endpoint: string };
  prefixOf(dataset: Name): string;
  /** What a dataset was made of, by key relative to its prefix. */
  objectsOf(dataset: Name): Map<string, SourceObject>;
  /** A signed root URL, as the API hands it out. */
  rootUrl(dataset: Name, scope?: { prefixes?: string[]; keys?: string[] }): Promise<string>;
  stop(): Promise<void>;
}

/** `folder` holds what the Python preparations wrote, a key a file. */
export async function setStage(checks: Checks, folder: string): Promise<Stage> {
  const source = await startLocalSource();
  let instance: (Instance & { secrets: InstanceSecrets }) | null = null;
  const stop = async () => {
    await instance?.stop();
    await source.stop();
  };
  try {
    const objects = [
      ...cubes(),
      ...records().filter(({ key }) => key.endsWith(JSONL)),
      ...written(folder),
      ...corpus(DATASETS.flights.prefix),
      ...plainCubes(),
    ];
    await fillSource(source, objects);
    instance = await startFreshInstance({ name: "clients", sources: { local: source } });
    const { url, secrets, tokens } = instance;
    const client = createClient(url, tokens.admin);

    const objectsOf = (dataset: Name) => {
      const { prefix } = DATASETS[dataset];
      const own = objects.filter(({ key }) => key.startsWith(prefix));
      return new Map(own.map((object) => [object.key.slice(prefix.length), object]));
    };
    const migrate = async (name: Name) => {
      const { kind, prefix } = DATASETS[name];
      await client.call("PUT", `/v1/datasets/${name}`, { kind, prefix, source: { name: "local", prefix } });
      const { id } = await client.call<{ id: string }>("POST", "/v1/migrations", { dataset: name });
      const { state, copied, failed } = await followMigration(client, id, { timeoutMs: MIGRATES_WITHIN_MS });
      const size = objectsOf(name).size;
      checks.equal(`${name}: ${size} objects are migrated`, [state, copied.objects, failed.objects], ["done", size, 0]);
    };
    await Promise.all(NAMES.map(migrate));
    return {
      client,
      url,
      token: tokens.admin,
      async text(path) {
        const answer = await fetch(url + path, { headers: { authorization: `Bearer ${tokens.admin}` } });
        if (!answer.ok) throw new Error(`GET ${path} answered ${answer.status}: ${await answer.text()}`);
        return answer.text();
      },
      r2: { ...secrets.r2, endpoint: `${url}/cdn-cgi/local/r2/s3` },
      prefixOf: (dataset) => DATASETS[dataset].prefix,
      objectsOf,
      async rootUrl(dataset, scope = { prefixes: [""] }) {
        const path = `/v1/datasets/${dataset}/capabilities`;
        return (await client.call<{ rootUrl: string }>("POST", path, scope)).rootUrl;
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What the preparations wrote, every file; that one chunk of four is not there is checked, for all else rests on it. */
function written(folder: string): SourceObject[] {
  const objects = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({
      key: path.slice(folder.length + 1),
      bytes: Uint8Array.from(readFileSync(path)),
      contentType: /(\.json|\/\.z[a-z]+)$/.test(path) ? "application/json" : "application/octet-stream",
    }));
  const chunks = objects.map(({ key }) => key).filter((key) => /^holes-.*\/(c\/\d\/\d|\d\.\d)$/.test(key));
  const expected = [
    "holes-v2/0.0",
    "holes-v2/0.1",
    "holes-v2/1.0",
    "holes-v3/c/0/0",
    "holes-v3/c/0/1",
    "holes-v3/c/1/0",
  ];
  if (chunks.sort().join() !== expected.join()) throw new Error(`zarr-python wrote the chunks ${chunks.join()}`);
  return objects;
}
