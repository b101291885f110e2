import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { FAILURE_ROWS_MAX } from "../../workers/core/limits.ts";
import { parseKeyList, type ReportLine } from "../../workers/core/migration/report-line.ts";
import { runFolder } from "../../workers/core/migration/request.ts";
import { randomFrom } from "../harness/chance.ts";
import { bury, carry, type Carrier, deliver, type Letter } from "./harness/delivery.ts";
import { expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { reportLines, reportNames, said } from "./harness/report-lines.ts";
import { must, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { SEED } from "./harness/seed.ts";
import { bytesOf, envWith, envWithSource, fill, PART_BYTES, sixtyAndTwo, type Stored, text } from "./harness/source.ts";
import { replacing, withUploadMethod } from "./harness/uploads.ts";

const unreported = async (run: TestRun) => migrationOf(env, run.id).unreported(null, 1000);

/** That the report has one line of each of these objects, and what else is true of every report. */
async function expectReport(run: TestRun, keys: readonly string[]): Promise<ReportLine[]> {
  const lines = await reportLines(run);
  expect(lines.map(({ key }) => key)).toEqual([...keys].sort());
  const status = await statusOf(run);
  const count = (outcome: string) => lines.filter((line) => line.outcome === outcome).length;
  expect([count("copied"), count("same") + count("kept"), count("failed")]).toEqual([
    status.copied.objects,
    status.skipped.objects,
    status.failed.objects,
  ]);
  expect(await unreported(run)).toEqual([]);
  return lines;
}

describe("whatever the queue does, the report has one line of each object", { timeout: 300_000 }, () => {
  const REFUSED = ["refused/fault-403", "refused/large-fault-403"];
  const CONFLICT = ["conflict/u\u0308", "conflict/\u00fc"];
  const keys: string[] = [];
  let source: Map<string, Stored>;

  beforeAll(async () => {
    const { objects, multipart } = sixtyAndTwo();
    for (const key of [...CONFLICT, "refused/fault-403", "same"]) objects.set(key, text(key));
    objects.set("refused/large-fault-403", bytesOf(PART_BYTES + 1, 77));
    source = await fill("lines/", objects, { multipart });
    keys.push(...objects.keys());
  }, 300_000);

  async function reported(name: string, carrier: Carrier): Promise<void> {
    await registerDataset(name, "lines/");
    await env.DATASETS.put(`${name}/same`, text("same"));
    const run = await startRun(name, envWith("pages-of-20"));
    await carry(run, carrier);
    const lines = await expectReport(run, keys);
    for (const line of lines) {
      const { bytes, etag } = source.get(line.key) as Stored;
      expect(line.size, line.key).toBe(bytes.length);
      if (REFUSED.includes(line.key)) expect(line).toMatchObject({ outcome: "failed", code: "source-forbidden" });
      else if (CONFLICT.includes(line.key)) expect(line).toMatchObject({ outcome: "failed", code: "key-conflict" });
      else if (line.key === "same") expect(line).toEqual({ key: "same", outcome: "same", size: 4, etag });
      else {
        const there = await env.DATASETS.head(`${name}/${line.key}`);
        const proof = there?.etag !== etag ? "parts" : etag.includes("-") ? "etag" : "md5";
        expect(line).toEqual({ key: line.key, outcome: "copied", size: bytes.length, etag: there?.etag, proof });
      }
    }
    await expectNothingLeft(run);
  }

  const twice = (letters: Letter[]) => letters.flatMap((letter) => [letter, letter]);

  it.each<[string, Carrier]>([
    ["in-order", {}],
    ["twice", { arrange: twice }],
    ["reversed", { arrange: (letters) => twice(letters).reverse() }],
    ["at-once", { arrange: (letters) => twice(twice(letters)), consumers: 8 }],
  ])("lines-%s", async (name, carrier) => {
    await reported(`lines-${name}`, carrier);
  });

  it("lost: a third of the messages, each once", async () => {
    const lost = new Set<number>();
    let count = 0;
    await reported("lines-lost", {
      arrange: (letters) =>
        letters.filter(({ body: { seq } }) => {
          if (lost.has(seq) || count++ % 3 !== 0) return true;
          lost.add(seq);
          return false;
        }),
    });
    expect(lost.size).toBeGreaterThan(4);
  });

  it.each([1, SEED])("shuffled, repeated and lost (seed %i)", async (seed) => {
    const chance = randomFrom(seed);
    await reported(`lines-shuffled-${seed}`, {
      arrange: (letters) =>
        letters
          .flatMap((letter) => Array.from({ length: Math.floor(chance() * 4) }, () => ({ letter, place: chance() })))
          .sort((a, b) => a.place - b.place)
          .map(({ letter }) => letter),
      consumers: 1 + (seed % 4),
    });
  });

  it("and its parts are NDJSON in the run's own folder, each a list of keys as it is", async () => {
    await registerDataset("lines-parts", "lines/");
    const run = await startRun("lines-parts", envWith("pages-of-20"));
    await carry(run);
    const found: string[] = [];
    for (const name of await reportNames(run)) {
      expect(name).toMatch(/^report-\d{9}-[0-9a-f]{8}\.ndjson$/);
      const part = await env.SYSTEM.get(runFolder(run.id) + name);
      expect(part?.httpMetadata?.contentType).toBe("application/x-ndjson");
      const body = (await part?.text()) ?? "";
      const list = parseKeyList(body, "ndjson", { max: 10_000, isStart: true, isEnd: true });
      expect(list.bad).toEqual([]);
      found.push(...list.keys);
    }
    expect(found.sort()).toEqual([...keys].sort());
  });
});

describe("lines that the run itself has", { timeout: 300_000 }, () => {
  /** Failures that nobody has written a line of, as dead letters leave them. */
  const addFailures = (run: TestRun, count: number, isReported: 0 | 1): Promise<void> =>
    runInDurableObject(migrationOf(env, run.id), (_, { storage }) => {
      storage.sql.exec(
        `WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?)
           INSERT INTO failure SELECT 'f/' || printf('%05d', i) || '/é"\\', 'dead-letter', 'Given up.', ? FROM n`,
        count,
        isReported,
      );
    });

  it.each<[string, Carrier]>([
    ["once", {}],
    ["at-once", { arrange: (letters) => letters.flatMap((letter) => [letter, letter, letter]), consumers: 3 }],
  ])("of more than one part has, are each in one: report message %s", async (name, carrier) => {
    const dataset = `rest-${name}`;
    await fill(`${dataset}/`, new Map([["a", text("a")]]));
    await registerDataset(dataset, `${dataset}/`);
    const run = await startRun(dataset, envWithSource({}));
    await addFailures(run, 11_000, 0);
    await carry(run, carrier);
    const lines = await reportLines(run);
    expect(lines).toHaveLength(11_001);
    expect(new Set(lines.map(({ key }) => key)).size).toBe(11_001);
    expect(lines.at(-1)).toEqual({
      key: 'f/11000/é"\\',
      outcome: "failed",
      size: null,
      code: "dead-letter",
      detail: "Given up.",
    });
    expect(await unreported(run)).toEqual([]);
  });

  it("are there of a large object, too, where more have failed than are kept", async () => {
    await fill("full/", new Map([["large-fault-403", bytesOf(PART_BYTES + 1, 5)]]));
    await registerDataset("full", "full/");
    const run = await startRun("full", envWith("plain"));
    await addFailures(run, FAILURE_ROWS_MAX, 1);
    await carry(run);
    expect(said(await reportLines(run))).toEqual(["large-fault-403: failed source-forbidden"]);
    expect((await statusOf(run)).failed.objects).toBe(1);
  });

  it("are of what the queue gave up", async () => {
    await fill(
      "report-given-up/",
      new Map([
        ["a", text("a")],
        ["large", bytesOf(PART_BYTES + 1, 6)],
      ]),
    );
    await registerDataset("report-given-up", "report-given-up/");
    const run = await startRun("report-given-up", envWithSource({}));
    await carry(run, {
      hand: (letter, at) =>
        letter.body.type === "copy" || letter.body.type === "part" ? bury(letter, at) : deliver(letter, at),
    });
    const lines = await expectReport(run, ["a", "large"]);
    expect(said(lines)).toEqual(["a: failed dead-letter", "large: failed dead-letter"]);
  });

  it("say of rows that could not be written that the object failed, whatever was said of the copy", async () => {
    await fill(
      "rowless/",
      new Map([
        ["a", text("a")],
        ["large", bytesOf(PART_BYTES + 1, 7)],
      ]),
    );
    await registerDataset("rowless", "rowless/");
    const run = await startRun("rowless", envWithSource({}));
    await carry(run, { hand: (letter, at) => (letter.queue === "manifest" ? bury(letter, at) : deliver(letter, at)) });
    // The line of the small one's copy was written with its batch.
    expect(said(await reportLines(run))).toEqual(["a: copied", "a: failed dead-letter", "large: failed dead-letter"]);
    expect((await statusOf(run)).state).toBe("failed");
    expect(await unreported(run)).toEqual([]);
  });
});

describe("the report of a run that was cancelled", { timeout: 300_000 }, () => {
  it("has what was done by then, and no more", async () => {
    const { objects } = sixtyAndTwo();
    await fill("stopped/", objects);
    await registerDataset("stopped", "stopped/");
    const run = await startRun("stopped", envWith("pages-of-20"));
    let copies = 0;
    await carry(run, {
      hand: async (letter, at) => {
        const answer = await deliver(letter, at);
        if (letter.body.type === "copy" && ++copies === 2) must(await migrationOf(env, run.id).cancel());
        return answer;
      },
    });
    const there = await keysInR2("stopped/");
    expect(there.length).toBeGreaterThan(0);
    expect(there.length).toBeLessThan(objects.size);
    const lines = await expectReport(run, there);
    expect(new Set(lines.map(({ outcome }) => outcome))).toEqual(new Set(["copied"]));
    expect((await statusOf(run)).state).toBe("cancelled");
  });

  it.each(["before", "after"])(
    "has a large object that was completed all the same, where the report was asked for %s",
    async (when) => {
      const dataset = `stopped-finish-${when}`;
      await fill(
        `${dataset}/`,
        new Map([
          ["a", text("a")],
          ["large", bytesOf(PART_BYTES + 1, 8)],
          ["z", text("z")],
        ]),
      );
      await registerDataset(dataset, `${dataset}/`);
      let others: () => Promise<void> = async () => undefined;
      // The run is cancelled while R2 puts the object together.
      const DATASETS = withUploadMethod(env.DATASETS, "complete", async (upload, parts) => {
        must(await migrationOf(env, run.id).cancel());
        if (when === "before") await others();
        return upload.complete(parts);
      });
      const run = await startRun(dataset, envWithSource({}, { DATASETS }));
      others = async () => {
        // What is in the queue meanwhile: the message that ends the report.
        const rows = await runInDurableObject(migrationOf(env, run.id), (_, { storage }) =>
          storage.sql
            .exec<{ seq: number; body: string }>("SELECT seq, body FROM outbox WHERE type = 'report'")
            .toArray(),
        );
        for (const { seq, body } of rows) {
          const letter = {
            queue: "migration",
            body: { ...(JSON.parse(body) as object), seq },
            deliveries: 0,
          } as Letter;
          await deliver(letter, run.env);
        }
      };
      await carry(run);
      expect(await keysInR2(`${dataset}/`)).toEqual(["a", "large", "z"]);
      expect((await statusOf(run)).copied.objects).toBe(3);
      await expectReport(run, ["a", "large", "z"]);
      await runDurableObjectAlarm(migrationOf(env, run.id));
      await expectNothingLeft(run);
    },
  );

  it("is that of a run which has failed, too: what was done before its listing broke off", async () => {
    await fill("broken/", new Map(Array.from({ length: 30 }, (_, i) => [`k/${10 + i}`, text(`${i}`)] as const)));
    await registerDataset("broken", "broken/");
    const run = await startRun("broken", envWith("pages-of-20"));
    let lists = 0;
    await carry(run, {
      hand: async (letter, at) => {
        if (letter.body.type === "list" && lists++ > 0) return bury(letter, at);
        return deliver(letter, at);
      },
    });
    const there = await keysInR2("broken/");
    expect((await reportLines(run)).map(({ key }) => key)).toEqual(there);
  });
});

describe("where the report cannot be written", { timeout: 300_000 }, () => {
  it("the work is not settled: it is done again, and found done", async () => {
    await fill(
      "unwritten/",
      new Map([
        ["a", text("a")],
        ["large", bytesOf(PART_BYTES + 1, 9)],
      ]),
    );
    await registerDataset("unwritten", "unwritten/");
    let puts = 0;
    const put = async (...args: Parameters<R2Bucket["put"]>) => {
      // Refused, and then done, and the answer lost.
      puts += 1;
      if (puts % 3 === 1) throw new Error("We encountered an internal error. Please try again. (10001)");
      const object = await env.SYSTEM.put(...args);
      if (puts % 3 === 2) throw new Error("Network connection lost.");
      return object;
    };
    const SYSTEM = replacing(env.SYSTEM, { put });
    const run = await startRun("unwritten", envWithSource({}, { SYSTEM }));
    await carry(run);
    expect(puts).toBeGreaterThanOrEqual(6);
    const lines = await expectReport(run, ["a", "large"]);
    expect(said(lines)).toEqual(["a: copied", "large: copied"]);
    await expectNothingLeft(run);
  });
});
