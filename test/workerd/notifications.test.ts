import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { rowOfPut } from "../harness/rows.ts";
import { ADMIN, api, apiTokens } from "./harness/api.ts";
import { handOver, notification } from "./harness/notify.ts";
import { must, registerDataset } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { rowAt } from "./harness/through.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

/** Registered as the routes do: the Directory knows its place. */
async function register(name: string, prefix = `${name}/`): Promise<void> {
  const claim = { name, kind: "files", bucket: "DATASETS", prefix, schedule: null };
  must(await directoryOf(env).claimDataset(claim, `ds_${name}`));
  await registerDataset(name, "nothing/");
}

async function stored(...args: [key: string, text: string, options?: R2PutOptions]): Promise<R2Object> {
  const put = await env.DATASETS.put(...args);
  if (put === null) throw new Error("R2 did not take it.");
  return put;
}

async function feedsOf(name: string) {
  const seen = envWith("plain", await apiTokens());
  const { body } = await api<{ manifest: { feeds: Record<string, number> } }>(
    seen,
    `GET /v1/datasets/${name}`,
    undefined,
    ADMIN,
  );
  return body.manifest.feeds;
}

beforeEach(() => {
  vi.spyOn(console, "log").mockReturnValue(undefined);
  vi.spyOn(console, "error").mockReturnValue(undefined);
});

describe("a notification of R2", () => {
  it("brings an object that another tool has put into the manifest, and takes it out when it was deleted", async () => {
    await register("told");
    const put = await stored("told/a/b", "by rclone", { httpMetadata: { contentType: "text/plain" } });
    expect(await handOver([notification("told/a/b", put.etag)])).toEqual(["ack"]);
    const said = { size: 9, etag: put.etag, contentType: "text/plain", proof: null, writer: "found:notification" };
    expect(await rowAt("told", "a/b")).toMatchObject(said);
    await env.DATASETS.delete("told/a/b");
    expect(await handOver([notification("told/a/b", null)])).toEqual(["ack"]);
    expect(await rowAt("told", "a/b")).toBeUndefined();
    // It is gone, but nobody says that it is to stay away.
    expect(await datasetOf(env, "told").isBuried("a/b")).toBe(false);
    const late = must(await datasetOf(env, "told").applyRows("ds_told", [rowOfPut("a/b", put)]));
    expect([late.written, late.questions.map(({ key }) => key)]).toEqual([0, ["a/b"]]);
  });

  it("of our own put costs R2 nothing, and erases no proof", async () => {
    await register("echo");
    const put = await stored("echo/k", "copied");
    must(await datasetOf(env, "echo").applyRows("ds_echo", [rowOfPut("k", put, { proof: "md5", sourceEtag: "s" })]));
    const watched = watchBucket();
    await handOver([notification("echo/k", put.etag)], { ...env, DATASETS: watched.bucket });
    expect(watched.operations).toEqual([]);
    expect(await rowAt("echo", "k")).toMatchObject({ proof: "md5", sourceEtag: "s" });
    // Even where R2 was asked, the answer has the row's own ETag.
    await handOver([notification("echo/k", null)], { ...env, DATASETS: watched.bucket });
    expect(watched.operations.map(({ name }) => name)).toEqual(["head"]);
    expect(await rowAt("echo", "k")).toMatchObject({ proof: "md5", sourceEtag: "s" });
  });

  it("is one question to the dataset and one to R2 a key, however many come in a batch", async () => {
    await register("batch");
    const put = await stored("batch/k", "x");
    const watched = watchBucket();
    const calls: string[] = [];
    const getByName = (name: string) => {
      calls.push(name);
      return env.DATASET.getByName(name);
    };
    const DATASET = { getByName } as unknown as Env["DATASET"];
    const many = Array.from({ length: 10 }, () => notification("batch/k", put.etag));
    expect(new Set(await handOver(many, { ...env, DATASET, DATASETS: watched.bucket }))).toEqual(new Set(["ack"]));
    expect(watched.operations).toHaveLength(1);
    expect(calls).toHaveLength(2); // to hint, and to answer
    calls.length = 0;
    await handOver(many, { ...env, DATASET, DATASETS: watched.bucket });
    expect([calls.length, watched.operations.length]).toEqual([1, 1]);
    expect(await feedsOf("batch")).toMatchObject({ echoes: 1, asked: 1, written: 1, removed: 0 });
  });

  it("of a bucket or prefix that no dataset owns is counted and acknowledged", async () => {
    await register("owner");
    const before = (await feedsOf("owner"))["unowned"] ?? 0;
    const nobodys = [
      notification("owne", "e"),
      notification("owner-private/k", "e"),
      notification("owner/", "e"),
      notification("owner/k", "e", "another-bucket"),
      notification("zzz", null),
    ];
    expect(await handOver(nobodys)).toEqual(nobodys.map(() => "ack"));
    expect(await feedsOf("owner")).toEqual({ echoes: 0, asked: 0, written: 0, removed: 0, unowned: before + 5 });
  });

  it("finds a dataset that was registered a moment after another of its kind was nobody's", async () => {
    const put = await stored("late/k", "x");
    await handOver([notification("late/k", put.etag)]);
    await register("late");
    await handOver([notification("late/k", put.etag)]);
    expect(await rowAt("late", "k")).toMatchObject({ etag: put.etag });
  });

  it("comes again while R2 cannot be asked, and does not keep the other datasets' waiting", async () => {
    await register("sick");
    await register("well");
    const put = await stored("well/k", "x");
    const { bucket } = watchBucket({
      head: (key, answer) => (key.startsWith("sick/") ? Promise.reject(new Error("internal (10001)")) : answer()),
    });
    const both = [notification("sick/k", "e"), notification("well/k", put.etag), { type: "nonsense" }];
    expect(await handOver(both, { ...env, DATASETS: bucket })).toEqual(["retry", "ack", "ack"]);
    expect(await rowAt("well", "k")).toMatchObject({ etag: put.etag });
  });
});
