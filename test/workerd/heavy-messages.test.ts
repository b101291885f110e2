import { env } from "cloudflare:workers";
import { beforeEach, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { type SentManifestMessage, sentRows } from "../../workers/core/migration/message.ts";
import { rowOfPut } from "../harness/rows.ts";
import { handOver, keepingSent } from "./harness/notify.ts";
import { must, registerDataset } from "./harness/run.ts";
import { rowAt } from "./harness/through.ts";
import { stepOf, walkOf } from "./harness/walk.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

beforeEach(() => {
  for (const method of ["log", "warn", "error"] as const) vi.spyOn(console, method).mockReturnValue(undefined);
});

const of = { v: 1, dataset: "heavy-0", datasetId: "ds_heavy-0", key: "index.json" };
const INDEX = { ...of, type: "shard-index", tries: 0 };
const RECORDS = { ...of, type: "records", etag: "e", as: null, from: 0 };

it("of one batch one heavy message is done, and the others are sent anew instead of being retried", async () => {
  for (const name of ["heavy-0", "heavy-1"]) {
    await registerDataset(name, "nothing/");
    must(await datasetOf(env, name).beginWalk(false));
  }
  const put = await env.DATASETS.put("heavy-0/k", "abc");
  const rows: SentManifestMessage = {
    ...{ v: 1, type: "rows", seq: 1, dataset: "heavy-0", datasetId: "ds_heavy-0" },
    sender: { kind: "migration", id: "mig_heavy" },
    ...sentRows([rowOfPut("k", put)]),
  };
  const [first, second] = [await stepOf("heavy-0"), await stepOf("heavy-1")];
  const watched = watchBucket();
  const { seen, sent, delays } = keepingSent({ ...env, DATASETS: watched.bucket });
  const answers = await handOver([first, INDEX, second, RECORDS, rows], seen);
  expect(answers).toEqual(["ack", "ack", "ack", "ack", "ack"]);
  expect(sent).toEqual([INDEX, second, RECORDS]);
  expect(delays).toEqual([1, 1, 1]);
  expect([(await walkOf("heavy-0")).state, (await walkOf("heavy-1")).state]).toEqual(["done", "running"]);
  // The light one was done beside it, and the object of neither index nor records was read.
  expect((await rowAt("heavy-0", "k"))?.writer).toBe("mig_01");
  expect(watched.operations.map(({ name }) => name)).not.toContain("get");
});

it("one that cannot be sent anew is delivered again", async () => {
  await registerDataset("heavy-2", "nothing/");
  must(await datasetOf(env, "heavy-2").beginWalk(false));
  const queue = { send: () => Promise.reject(new Error("Queue send failed")) } as unknown as Queue;
  const answers = await handOver([await stepOf("heavy-2"), INDEX], { ...env, MANIFEST_QUEUE: queue });
  expect(answers).toEqual(["ack", "retry"]);
});
