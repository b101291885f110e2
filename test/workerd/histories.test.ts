import { env } from "cloudflare:workers";
import { beforeAll, expect, it, vi } from "vitest";
import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { EVERYTHING, type Position, type RowPage } from "../../workers/core/manifest/query.ts";
import { HistoryBucket, playHistory, type Stage } from "./harness/histories.ts";
import { must, registerDataset } from "./harness/run.ts";
import { dice, SEED } from "./harness/seed.ts";

const NAME = "histories";
const HISTORIES = 1000;

beforeAll(async () => {
  for (const method of ["log", "error", "warn"] as const) vi.spyOn(console, method).mockReturnValue(undefined);
  const claim = { name: NAME, kind: "files", bucket: "DATASETS", prefix: `${NAME}/`, schedule: null };
  must(await directoryOf(env).claimDataset(claim, `ds_${NAME}`));
  await registerDataset(NAME, "nothing/");
});

const inBucket = (bucket: HistoryBucket): Map<string, string> =>
  new Map([...bucket.objects].map(({ key, etag, size }) => [key.slice(NAME.length + 1), `${etag} ${size}`]));

async function inManifest(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let after: Position | null = null; ;) {
    const { rows, next }: RowPage = must(await datasetOf(env, NAME).query(EVERYTHING, after, 1000));
    for (const { key, etag, size } of rows) found.set(key, `${etag} ${size}`);
    if (next === null) return found;
    after = next;
  }
}

it(
  `a thousand histories of puts and deletions, told twice, late and shuffled, end in the manifest that the bucket holds (seed ${SEED})`,
  { timeout: 300_000 },
  async () => {
    const names = Array.from({ length: HISTORIES }, (_, n) => `h${String(n).padStart(4, "0")}`);
    const stage: Stage = { dataset: NAME, bucket: new HistoryBucket(), seats: [] };
    await forEachLimited(names, 16, (name) => playHistory(stage, name, dice(Number(name.slice(1)))));
    const [bucket, manifest] = [inBucket(stage.bucket), await inManifest()];
    const wrong = [...new Set([...bucket.keys(), ...manifest.keys()])].filter(
      (key) => bucket.get(key) !== manifest.get(key),
    );
    expect(wrong).toEqual([]);
    expect(bucket.size).toBeGreaterThan(HISTORIES / 2);
    const { objects, bytes } = must(await datasetOf(env, NAME).describe()).summary;
    const sizes = [...bucket.values()].map((text) => Number(text.split(" ")[1]));
    expect({ objects, bytes }).toEqual({ objects: bucket.size, bytes: sizes.reduce((sum, size) => sum + size, 0) });
  },
);
