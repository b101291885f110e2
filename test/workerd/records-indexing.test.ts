import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { indexRecords } from "../../queues/manifest/records.ts";
import { consumeManifest } from "../../queues/manifest/consumer.ts";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { INDEXING, type IndexingLimits, lookAt, makeIndex } from "../../workers/adapters/record-indexing.ts";
import { type IndexName, recordIndexesIn } from "../../workers/adapters/record-indexes.ts";
import type { RecordsMessage } from "../../workers/core/records/message.ts";
import { apiTokens } from "./harness/api.ts";
import { gzipped } from "./harness/gzip.ts";
import { putText, readRecords } from "./harness/records.ts";
import { must, registerDataset } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { replacing } from "./harness/uploads.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

const LIMITS: IndexingLimits = {
  inlineBytes: 10_000,
  inlineGzipBytes: 10_000,
  inlineInflatedBytes: 10_000,
  stepBytes: 150_000,
  inflatedBytes: 1_000_000,
};
const LINES = Array.from({ length: 5000 }, (_, id) => JSON.stringify({ id, text: "x".repeat(60 + (id % 60)) }));
const ARRAY = `[${LINES.join(",\n")}]`;
const FOLDER = "datasets/ds_texts/records/";

let seen: Env;
const sent: RecordsMessage[] = [];

beforeAll(async () => {
  const queue = { send: async (message: RecordsMessage) => void sent.push(message) } as unknown as Queue;
  seen = envWith("plain", { ...(await apiTokens()), MANIFEST_QUEUE: queue });
  await registerDataset("texts", "texts/");
});

const stored = async (suffix = "") => {
  const { objects } = await env.SYSTEM.list({ prefix: FOLDER });
  return objects.filter(({ key }) => key.endsWith(suffix)).map(({ key }) => key);
};
const cleared = async () => {
  sent.length = 0;
  await env.SYSTEM.delete(await stored());
};

/** What a request does for an object that has no index, with these limits; the failure's code, or the records. */
async function ask(
  key: string,
  {
    now = Date.now(),
    limits = LIMITS,
    isDown = false,
  }: { now?: number; limits?: IndexingLimits; isDown?: boolean } = {},
) {
  const store = createR2Store(env.DATASETS);
  const looked = must(await lookAt(store, { key: `texts/${key}` }));
  const name: IndexName = { datasetId: "ds_texts", key: `texts/${key}`, etag: looked.info.etag, as: null };
  const send = async (from: number) => {
    if (isDown) throw new Error("Queue is overloaded.");
    const common = { v: 1 as const, type: "records" as const, dataset: "texts", datasetId: "ds_texts" };
    sent.push({ ...common, key, etag: name.etag, as: null, from });
  };
  const indexes = recordIndexesIn(createR2Store(env.SYSTEM));
  const found = must(await indexes.find(name));
  if (found !== null) return found.records;
  const made = await makeIndex({ name, store, indexes, now, limits, send }, looked);
  return made.ok ? made.value.records : made.failure;
}

/** Delivers every message, each `times` over; how many there were. */
async function deliverAll(times = 1, by: Env = seen): Promise<number> {
  let delivered = 0;
  for (let message = sent.shift(); message !== undefined; message = sent.shift()) {
    for (let time = 0; time < times; time++) {
      expect(await indexRecords(message, by, LIMITS)).toEqual({ kind: "ack" });
    }
    if (++delivered > 50) throw new Error("The messages do not end.");
  }
  return delivered;
}

describe("an object that is too large for one request", () => {
  it.each([
    ["lines.jsonl", LINES.join("\n")],
    ["array.json", ARRAY],
  ])("%s is indexed by messages, a stretch each, and says meanwhile when to come back", async (key, body) => {
    await cleared();
    await putText(key, body);
    expect(await ask(key)).toMatchObject({ code: "records-not-indexed", retryAfterSeconds: 2 });
    // Whoever asks meanwhile sends nothing more.
    expect(await ask(key)).toMatchObject({ code: "records-not-indexed" });
    expect(sent.map(({ from }) => from)).toEqual([0]);
    // A stretch ends with the chunk in which it is full.
    const messages = await deliverAll();
    expect(messages).toBeGreaterThan(2);
    expect(messages).toBeLessThanOrEqual(Math.ceil(body.length / 150_000));
    expect(await ask(key)).toBe(5000);
    expect(await stored(".part")).toEqual([]);
    const { lines, end } = await readRecords(seen, `/${key}?offset=4321&limit=3`);
    expect([lines, end?.total]).toEqual([LINES.slice(4321, 4324), 5000]);
    // The same bytes as those of one pass.
    const [path = ""] = await stored(".idx");
    const inSteps = await (await env.SYSTEM.get(path))?.bytes();
    await cleared();
    expect(await ask(key, { limits: INDEXING })).toBe(5000);
    expect(await (await env.SYSTEM.get(path))?.bytes()).toEqual(inSteps);
  });

  it("is indexed once, though every message comes twice, and some after the end", async () => {
    await cleared();
    await putText("twice.jsonl", LINES.join("\n"));
    await ask("twice.jsonl");
    const [first] = sent;
    expect(await deliverAll(2)).toBeLessThanOrEqual(Math.ceil(LINES.join("\n").length / 150_000));
    const before = await stored();
    if (first === undefined) throw new Error("Nothing was sent.");
    await indexRecords(first, seen, LIMITS);
    expect([sent, await stored()]).toEqual([[], before]);
  });

  it("of which a message was lost is taken up, where it was, by who asks after ten minutes", async () => {
    await cleared();
    await putText("lost.jsonl", LINES.join("\n"));
    await ask("lost.jsonl");
    await indexRecords(sent.shift() ?? expect.fail(), seen, LIMITS);
    const [lost] = sent.splice(0);
    expect(await ask("lost.jsonl", { now: Date.now() + 500_000 })).toMatchObject({ code: "records-not-indexed" });
    expect(sent).toEqual([]);
    await ask("lost.jsonl", { now: Date.now() + 700_000 });
    expect(sent).toEqual([lost]);
    await deliverAll();
    expect(await ask("lost.jsonl")).toBe(5000);
  });

  it("of which the queue could not be told is begun by who asks next, and went on with where it was", async () => {
    await cleared();
    await putText("untold.jsonl", LINES.join("\n"));
    expect(await ask("untold.jsonl", { isDown: true })).toMatchObject({ code: "store-unavailable" });
    expect(await ask("untold.jsonl", { isDown: true })).toMatchObject({ code: "store-unavailable" });
    expect(await ask("untold.jsonl")).toMatchObject({ code: "records-not-indexed" });
    expect(await ask("untold.jsonl")).toMatchObject({ code: "records-not-indexed" });
    expect(sent.map(({ from }) => from)).toEqual([0]);
    // A chain that is lost while the queue is down goes on where it was.
    await indexRecords(sent.shift() ?? expect.fail(), seen, LIMITS);
    const [lost] = sent.splice(0);
    const now = Date.now() + 700_000;
    expect(await ask("untold.jsonl", { now, isDown: true })).toMatchObject({ code: "store-unavailable" });
    await ask("untold.jsonl", { now });
    expect(sent).toEqual([lost]);
    await deliverAll();
    expect(await ask("untold.jsonl")).toBe(5000);
  });

  it.each([
    ["before it had sent the next message", false],
    ["when it had sent it, and not noted that", true],
  ])("is indexed also where a consumer is killed %s, once it is delivered again", async (_, isSent) => {
    await cleared();
    await putText("killed.jsonl", LINES.join("\n"));
    await ask("killed.jsonl");
    for (let killed = 0; killed < 2; killed++) {
      const message = sent.shift() ?? expect.fail();
      const dies = async (next: RecordsMessage) => {
        if (isSent) sent.push(next);
        throw new Error("The isolate exceeded its CPU limit.");
      };
      const dying = { ...seen, MANIFEST_QUEUE: { send: dies } as unknown as Queue };
      expect(await indexRecords(message, dying, LIMITS)).toEqual({ kind: "retry" });
      sent.length = Math.min(sent.length, 1);
      expect(await indexRecords(message, seen, LIMITS)).toEqual({ kind: "ack" });
      // Once more than needed: of that, nothing comes.
      expect(await indexRecords(message, seen, LIMITS)).toEqual({ kind: "ack" });
      expect(sent).toEqual(Array(isSent ? 2 : 1).fill(sent[0]));
      expect(sent[0]?.from).toBeGreaterThan(message.from);
      if (isSent) sent.shift();
    }
    await deliverAll(2);
    expect(await ask("killed.jsonl")).toBe(5000);
    expect(await stored(".part")).toEqual([]);
  });

  it("is put once a stretch at each of its keys: R2 takes one put a second of a key", async () => {
    await cleared();
    await putText("once.jsonl", LINES.join("\n"));
    await ask("once.jsonl");
    const puts: string[] = [];
    const SYSTEM = replacing(env.SYSTEM, {
      put: ((key: string, ...rest: [ArrayBuffer, R2PutOptions]) => {
        puts.push(key);
        return env.SYSTEM.put(key, ...rest);
      }) as R2Bucket["put"],
    });
    for (let message = sent.shift(); message !== undefined; message = sent.shift()) {
      expect(await indexRecords(message, { ...seen, SYSTEM }, LIMITS)).toEqual({ kind: "ack" });
      expect(puts.length).toBeGreaterThan(0);
      expect(new Set(puts).size).toBe(puts.splice(0).length);
    }
    expect(await ask("once.jsonl")).toBe(5000);
    expect(await stored(".told")).toEqual([]);
  });

  it("is the same where two messages of each stretch are worked off at once", async () => {
    await cleared();
    await putText("pairs.jsonl", LINES.join("\n"));
    await ask("pairs.jsonl");
    for (let rounds = 0; sent.length > 0; rounds++) {
      expect(rounds).toBeLessThan(20);
      const [message] = sent.splice(0);
      if (message === undefined) break;
      await Promise.all([0, 1].map(() => indexRecords(message, seen, LIMITS)));
      expect(sent.length).toBeLessThanOrEqual(2);
    }
    expect(await ask("pairs.jsonl")).toBe(5000);
    expect((await readRecords(seen, "/pairs.jsonl?offset=4997")).lines).toEqual(LINES.slice(4997));
    expect(await stored(".part")).toEqual([]);
  });

  it("of an encoding that is not read is refused at once", async () => {
    await cleared();
    await putText("large.br", "x".repeat(20_000), { contentEncoding: "br" });
    expect(await ask("large.br")).toBe(0);
    expect((await readRecords(seen, "/large.br")).problem).toMatchObject({ code: "not-records" });
  });

  it("that is another one by now is left, and what was begun forgotten", async () => {
    await cleared();
    await putText("replaced.jsonl", LINES.join("\n"));
    await ask("replaced.jsonl");
    await putText("replaced.jsonl", "1\n");
    expect(await deliverAll()).toBe(1);
    expect(await stored()).toEqual([]);
    expect(await ask("replaced.jsonl")).toBe(1);
  });

  it("is tried again when R2 fails, and by the queue's own consumer", async () => {
    await cleared();
    await putText("failing.jsonl", LINES.slice(0, 2000).join("\n"));
    await ask("failing.jsonl");
    const { bucket } = watchBucket({ get: async () => Promise.reject(new Error("internal error (10001)")) });
    const [message] = sent;
    if (message === undefined) throw new Error("Nothing was sent.");
    expect(await indexRecords(message, { ...seen, DATASETS: bucket }, LIMITS)).toEqual({ kind: "retry" });
    const settled: string[] = [];
    const settle = (name: string) => () => void settled.push(name);
    const letter = {
      id: "1",
      timestamp: new Date(),
      attempts: 1,
      body: message,
      ack: settle("ack"),
      retry: settle("retry"),
    };
    const batch = { queue: "penstock-manifest", messages: [letter] } as unknown as MessageBatch;
    await consumeManifest(batch, seen);
    expect(settled).toEqual(["ack"]);
    expect(await ask("failing.jsonl")).toBe(2000);
  });

  it("with a record longer than a stretch is refused, with the way out", async () => {
    await cleared();
    await putText("long.jsonl", `1\n"${"x".repeat(400_000)}"\n2\n`);
    await ask("long.jsonl");
    expect(await deliverAll()).toBe(2);
    const { status, problem } = await readRecords(seen, "/long.jsonl");
    expect([status, problem?.["code"]]).toEqual([409, "not-records"]);
    expect(problem?.["detail"]).toMatch(/record of more than 150000 bytes, at byte 2.*several objects/);
  });
});

describe("a compressed object", () => {
  it("that is small, but more than a request may inflate, is indexed by one message", async () => {
    await cleared();
    await putText("small.jsonl.gz", await gzipped(LINES[0]?.concat("\n").repeat(1000) ?? ""));
    for (let i = 0; i < 2; i++) expect(await ask("small.jsonl.gz")).toMatchObject({ code: "records-not-indexed" });
    expect(await deliverAll()).toBe(1);
    expect(await ask("small.jsonl.gz")).toBe(1000);
  });

  it("that inflates beyond what can be read is refused", async () => {
    await cleared();
    await putText("bomb.jsonl.gz", await gzipped("\n".repeat(3_000_000)));
    await ask("bomb.jsonl.gz");
    expect(await deliverAll()).toBe(1);
    expect((await readRecords(seen, "/bomb.jsonl.gz")).problem).toMatchObject({ code: "not-records" });
  });
});

describe("an index in R2", () => {
  it("that is damaged, or another object's, is made anew", async () => {
    await cleared();
    await putText("kept.jsonl", "1\n2\n");
    await readRecords(seen, "/kept.jsonl");
    const [path = ""] = await stored(".idx");
    const whole = (await (await env.SYSTEM.get(path))?.bytes()) ?? expect.fail();
    // One of other bytes, and one of the same, so of the same ETag.
    const others: Uint8Array[] = [];
    for (const body of ["1\n2\n3\n", "1\n2\n"]) {
      const before = await stored(".idx");
      await putText(`other-${body.length}.jsonl`, body);
      await readRecords(seen, `/other-${body.length}.jsonl`);
      const [another = ""] = (await stored(".idx")).filter((key) => !before.includes(key));
      others.push((await (await env.SYSTEM.get(another))?.bytes()) ?? expect.fail());
    }
    const changed = whole.slice();
    changed[changed.length - 40] = (changed[changed.length - 40] ?? 0) ^ 1;
    for (const damaged of [changed, whole.slice(0, -1), new Uint8Array(0), ...others]) {
      await env.SYSTEM.put(path, damaged);
      expect((await readRecords(seen, "/kept.jsonl")).lines).toEqual(["1", "2"]);
      expect(await (await env.SYSTEM.get(path))?.bytes()).toEqual(whole);
    }
  });

  it("made by two requests at once is one, and both are answered", async () => {
    await cleared();
    await putText("both.jsonl", LINES.join("\n"));
    const answers = await Promise.all([0, 1].map(() => readRecords(seen, "/both.jsonl?limit=2")));
    expect(answers.map(({ lines }) => lines)).toEqual([LINES.slice(0, 2), LINES.slice(0, 2)]);
    expect(await stored()).toHaveLength(1);
  });
});
