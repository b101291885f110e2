import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { givenRow, rowOfPut } from "../harness/rows.ts";
import { handOver, keepingSent, notification } from "./harness/notify.ts";
import { must, registerDataset } from "./harness/run.ts";
import { rowAt } from "./harness/through.ts";
import { carryWalk } from "./harness/walk.ts";

const SHA256 = "a".repeat(64);

beforeEach(() => {
  for (const method of ["log", "warn", "error"] as const) vi.spyOn(console, method).mockReturnValue(undefined);
});

async function register(name: string): Promise<void> {
  const claim = { name, kind: "files", bucket: "DATASETS", prefix: `${name}/`, schedule: null };
  must(await directoryOf(env).claimDataset(claim, `ds_${name}`));
  await registerDataset(name, "nothing/");
}

async function store(name: string, key: string, text: string): Promise<R2Object> {
  const put = await env.DATASETS.put(`${name}/${key}`, text);
  if (put === null) throw new Error("R2 did not take it.");
  return put;
}

const shard = (basename: string, bytes: number, hashes: object) => ({
  ...{ format: "mds", version: 2, samples: 1, zip_data: null },
  raw_data: { basename, bytes, hashes },
});
const indexOf = (...shards: object[]) => JSON.stringify({ version: 2, shards });

describe("an index of MosaicML shards that was put", () => {
  it("gives its shards' rows the hashes that it says, where they are of that size and MD5", async () => {
    await register("mds");
    const rows = [];
    for (const name of ["0", "1", "2"])
      rows.push(rowOfPut(`train/${name}`, await store("mds", `train/${name}`, "abc")));
    must(await datasetOf(env, "mds").applyRows("ds_mds", rows));
    const said = { sha256: SHA256 };
    const text = indexOf(shard("0", 3, said), shard("1", 4, said), shard("2", 3, { ...said, md5: "0".repeat(32) }));
    const index = await store("mds", "train/index.json", text);
    const { seen, sent } = keepingSent();
    await handOver([notification("mds/train/index.json", index.etag)], seen);
    expect(sent).toEqual([
      { v: 1, type: "shard-index", dataset: "mds", datasetId: "ds_mds", key: "train/index.json", tries: 0 },
    ]);
    expect(await handOver(sent.splice(0), seen)).toEqual(["ack"]);
    const known = await Promise.all(["0", "1", "2"].map(async (name) => (await rowAt("mds", `train/${name}`))?.sha256));
    expect(known).toEqual([SHA256, null, null]);
    expect(sent).toEqual([]);
  });

  it("may name a shard twice, and the counts stay right", async () => {
    await register("twice");
    const { seen, sent } = keepingSent();
    const [first, second] = [await store("twice", "raw/s0", "abc".repeat(100)), await store("twice", "raw/s1", "abc")];
    const said = shard("s0", 300, { sha256: SHA256 });
    const index = await store("twice", "raw/index.json", indexOf(said, said, said));
    const put = { "raw/s0": first, "raw/s1": second, "raw/index.json": index };
    await handOver(
      Object.entries(put).map(([key, { etag }]) => notification(`twice/${key}`, etag)),
      seen,
    );
    expect(await handOver(sent.splice(0), seen)).toEqual(["ack"]);
    expect((await rowAt("twice", "raw/s0"))?.sha256).toBe(SHA256);
    const { summary } = must(await datasetOf(env, "twice").describe());
    expect([summary.objects, summary.bytes]).toEqual([3, 303 + index.size]);
  });

  it("only says a SHA-256, and a walk that computes them does so nevertheless, once", async () => {
    await register("said");
    const { seen, sent } = keepingSent();
    const put = await store("said", "model.bin", "abc");
    const index = await store("said", "index.json", indexOf(shard("model.bin", 3, { sha256: SHA256 })));
    const news = [notification("said/model.bin", put.etag), notification("said/index.json", index.etag)];
    await handOver(news, seen);
    await handOver(sent.splice(0), seen);
    expect((await rowAt("said", "model.bin"))?.sha256).toBe(SHA256);
    const hashed = async () => {
      must(await datasetOf(env, "said").beginWalk(true));
      await carryWalk("said");
      return must(await datasetOf(env, "said").walkStatus())?.counts.hashed;
    };
    expect([await hashed(), await hashed()]).toEqual([2, 0]);
    const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect((await rowAt("said", "model.bin"))?.sha256).toBe(abc);
    // The index, told once more, does not bring its word back.
    await handOver([{ v: 1, type: "shard-index", dataset: "said", datasetId: "ds_said", key: "index.json", tries: 0 }]);
    expect((await rowAt("said", "model.bin"))?.sha256).toBe(abc);
  });

  it("is read again, a few times, for shards whose rows come after it", async () => {
    await register("later");
    const put = await store("later", "0", "abc");
    const index = await store("later", "index.json", indexOf(shard("0", 3, { sha256: SHA256 })));
    const { seen, sent } = keepingSent();
    await handOver([notification("later/index.json", index.etag)], seen);
    await handOver(sent.splice(0), seen);
    expect(sent).toMatchObject([{ type: "shard-index", key: "index.json", tries: 1 }]);
    const again = sent.splice(0);
    await handOver([notification("later/0", put.etag)], seen);
    await handOver(again, seen);
    expect((await rowAt("later", "0"))?.sha256).toBe(SHA256);
    expect(sent).toEqual([]);
    // A shard that never comes is not waited for for ever.
    const never = await store("later", "index.json", indexOf(shard("never", 3, { sha256: SHA256 })));
    await handOver([notification("later/index.json", never.etag)], seen);
    sent.splice(0);
    let reads = 0;
    for (let message: unknown = again[0]; message !== undefined; message = sent.splice(0)[0]) {
      reads += 1;
      await handOver([message], seen);
    }
    expect(reads).toBe(4);
  });

  it("is found by a walk, and what only has its name is left alone", async () => {
    await register("walked");
    await store("walked", "a/index.json", "<html>");
    await store("walked", "a/b/0", "abc");
    await store("walked", "a/b/index.json", indexOf(shard("0", 3, { sha256: SHA256 })));
    must(await datasetOf(env, "walked").beginWalk(false));
    const { seen, sent } = keepingSent();
    await carryWalk("walked", seen);
    expect(sent).toHaveLength(2);
    for (const message of sent.splice(0)) expect(await handOver([message], seen)).toEqual(["ack"]);
    expect((await rowAt("walked", "a/b/0"))?.sha256).toBe(SHA256);
    // What has not changed since is not read again.
    must(await datasetOf(env, "walked").beginWalk(false));
    await carryWalk("walked", seen);
    expect(sent).toEqual([]);
  });

  it("says nothing of shards that are younger than it is, by the source's clock where both are copies", async () => {
    await register("stale");
    const index = await store(
      "stale",
      "index.json",
      indexOf(...["0", "1", "2"].map((n) => shard(n, 3, { sha256: SHA256 }))),
    );
    const at = index.uploaded.getTime();
    const row = (key: string, uploadedAt: number, sourceModifiedAt: number | null) =>
      givenRow(key, { size: 3, uploadedAt, sourceModifiedAt });
    must(
      await datasetOf(env, "stale").applyRows("ds_stale", [
        rowOfPut("index.json", index, { sourceModifiedAt: 500 }),
        row("0", at + 1, null),
        row("1", at + 1, 500),
        row("2", at, 501),
      ]),
    );
    const message = { v: 1, type: "shard-index", dataset: "stale", datasetId: "ds_stale", key: "index.json", tries: 0 };
    expect(await handOver([message])).toEqual(["ack"]);
    const known = await Promise.all(["0", "1", "2"].map(async (key) => (await rowAt("stale", key))?.sha256));
    expect(known).toEqual([null, SHA256, null]);
  });

  it("is not read where it is larger than any index is taken for", async () => {
    await register("huge");
    await store("huge", "0", "abc");
    const text = indexOf(shard("0", 3, { sha256: SHA256 }));
    const put = await store("huge", "index.json", text + " ".repeat(2 * 1024 * 1024 + 1 - text.length));
    must(await datasetOf(env, "huge").beginWalk(false));
    await carryWalk("huge");
    const message = { v: 1, type: "shard-index", dataset: "huge", datasetId: "ds_huge", key: "index.json", tries: 0 };
    expect(put.size).toBe(2 * 1024 * 1024 + 1);
    await handOver([message]);
    expect((await rowAt("huge", "0"))?.sha256).toBeNull();
    const small = await store("huge", "index.json", text);
    // What the manifest does not have as it is says nothing either.
    await handOver([message]);
    expect((await rowAt("huge", "0"))?.sha256).toBeNull();
    await handOver([notification("huge/index.json", small.etag)], keepingSent().seen);
    await handOver([message]);
    expect((await rowAt("huge", "0"))?.sha256).toBe(SHA256);
  });
});
