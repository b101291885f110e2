import { createMessageBatch, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { consumeMigration } from "../../queues/migration/consumer.ts";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { MIGRATION_MAX_BYTES } from "../../workers/core/limits.ts";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact, expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { expectManifest } from "./harness/extraneous.ts";
import { around, kill } from "./harness/interrupted.ts";
import { unsettled } from "./harness/outbox.ts";
import { reportLines, said } from "./harness/report-lines.ts";
import { must, passTime, registerDataset, SILENCE_SECONDS, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { bytesOf, envWith, envWithSource, fill, PART_BYTES, type Stored } from "./harness/source.ts";
import { notingUploads, stillOpen, type Upload } from "./harness/uploads.ts";

const small = ["a", "b", "c"];
const large = ["large/1", "large/2"];
let source: Map<string, Stored>;
beforeAll(async () => {
  source = await fill(
    "ended/",
    new Map([
      ...small.map((key, i) => [key, bytesOf(100, i)] as const),
      ...large.map((key, i) => [key, bytesOf(PART_BYTES + 1, 10 + i)] as const),
    ]),
  );
});

const cancel = async ({ id }: TestRun) => must(await migrationOf(env, id).cancel());
const isSettled = ({ id }: TestRun) => migrationOf(env, id).isSettled();

describe("a message that comes when its run was cancelled", { timeout: 300_000 }, () => {
  async function start(name: string): Promise<TestRun> {
    await registerDataset(name, "ended/");
    return startRun(name, envWithSource({}), { include: ["?"] });
  }

  it.each([1, 3])(
    "is left to a consumer that has it already, which settles what it has copied (%i times)",
    async (deliveries) => {
      const run = await start(`ended-late-${deliveries}`);
      let cancelled = 0;
      await carry(run, {
        hand: (letter, seen) => {
          if (letter.body.type !== "copy") return deliver(letter, seen);
          const { seq } = letter.body;
          const before = async () => {
            cancelled += 1;
            expect(await cancel(run)).toMatchObject({ state: "cancelled", copied: { objects: 0 } });
            for (let i = 0; i < deliveries; i++) {
              const from = Date.now();
              expect(await deliver({ ...letter }, run.env)).toBe("ack");
              const row = (await unsettled(run)).find((open) => open.seq === seq);
              if (i === 0) expect(row?.dueAt).toBeGreaterThanOrEqual(from + 1000 * SILENCE_SECONDS);
              expect(row, "it is still to be settled").toMatchObject({ type: "copy", sends: 1 });
              expect(await isSettled(run), "somebody may be at it").toBe(false);
            }
          };
          return deliver(letter, around(seen, "settleBatch", { before }));
        },
      });
      expect(cancelled).toBe(1);
      expect(await statusOf(run)).toMatchObject({ state: "cancelled", copied: { objects: 3 }, proofs: { md5: 3 } });
      expect(said(await reportLines(run))).toEqual(["a: copied", "b: copied", "c: copied"]);
      await expectManifest(run.dataset, small);
      expect(await isSettled(run)).toBe(true);
      await expectNothingLeft(run);
    },
  );

  it("is closed where it comes again after the silence: that consumer is dead", async () => {
    const run = await start("ended-dead");
    const copies: Letter[] = [];
    let waits = 0;
    await carry(run, {
      hand: async (letter, seen) => {
        if (letter.body.type !== "copy") return deliver(letter, seen);
        copies.push({ ...letter });
        const before = async () => {
          await cancel(run);
          kill();
        };
        return deliver(letter, copies.length === 1 ? around(seen, "settleBatch", { before }) : seen);
      },
      wait: async () => {
        waits += 1;
        expect(copies, "the queue has delivered it again, at once").toHaveLength(2);
        expect(await unsettled(run)).toMatchObject([{ type: "copy", sends: 1 }]);
        expect(await isSettled(run)).toBe(false);
        await passTime(run);
      },
    });
    expect(waits).toBe(1);
    expect(copies).toHaveLength(3);
    expect(await isSettled(run)).toBe(true);
    expect(await statusOf(run)).toMatchObject({ state: "cancelled", problem: null, copied: { objects: 0 } });
    await expectNothingLeft(run);
    // What nobody has recorded is found by the next run.
    const next = await startRun(run.dataset, run.env);
    await carry(next);
    await expectExact(next, source);
  });
});

describe("a run that was cancelled", () => {
  it("has no problem, also where its listing could not go on just then", async () => {
    await registerDataset("ended-listing", "ended/");
    const run = await startRun("ended-listing", envWithSource({ bucket: "no-such-bucket" }));
    let failed = 0;
    const before = async () => {
      failed += 1;
      await cancel(run);
    };
    await carry(run, { hand: (letter, seen) => deliver(letter, around(seen, "failRun", { before })) });
    expect(failed).toBe(1);
    expect(await statusOf(run)).toMatchObject({ state: "cancelled", problem: null });
  });
});

describe("what is left to do of a run that has ended", { timeout: 300_000 }, () => {
  /** Hands a letter over; what the queue is then told. */
  async function handOver({ body }: Letter, seen: Env): Promise<unknown[]> {
    const sent = { id: "1", timestamp: new Date(), attempts: 1, body };
    const batch = createMessageBatch("penstock-migration", [sent]);
    const told: unknown[] = [];
    for (const message of batch.messages) {
      vi.spyOn(message, "ack").mockImplementation(() => void told.push("ack"));
      vi.spyOn(message, "retry").mockImplementation((options) => void told.push(options));
    }
    await consumeMigration(batch, seen);
    return told;
  }

  it.each([
    ["the source's credentials are missing", "ended-no-keys", { SOURCE_TEST_ACCESS_KEY_ID: undefined }],
    ["the source is missing", "ended-no-source", { SOURCES: {} }],
    ["the bucket is missing", "ended-no-bucket", { DATASETS: undefined }],
  ])("waits while %s from the configuration, and is done when it is whole again", async (_, name, broken) => {
    const { bucket, created } = notingUploads();
    await registerDataset(name, "ended/");
    const run = await startRun(name, envWithSource({}, { DATASETS: bucket }));
    const waited: string[] = [];
    let first: string | null = null;
    let isCancelled = false;
    await carry(run, {
      hand: async (letter, seen) => {
        const { body } = letter;
        // One of the large objects is copied; then the run is cancelled, with the upload of the other open.
        if (body.type === "part" && !isCancelled) {
          first ??= body.key;
          return body.key === first ? deliver(letter, seen) : "ack";
        }
        if (body.type === "finish") {
          const answer = await deliver(letter, seen);
          await cancel(run);
          isCancelled = true;
          return answer;
        }
        if (body.type !== "abort" && body.type !== "report") return deliver(letter, seen);
        const before = { status: await statusOf(run), open: await unsettled(run), uploads: await stillOpen(created) };
        expect(before.status).toMatchObject({ state: "cancelled", problem: null });
        expect(await handOver(letter, { ...seen, ...broken } as Env)).toEqual([{ delaySeconds: 300 }]);
        const after = { status: await statusOf(run), open: await unsettled(run), uploads: await stillOpen(created) };
        expect(after).toEqual(before);
        expect(await isSettled(run)).toBe(false);
        waited.push(body.type);
        return deliver(letter, seen);
      },
    });
    expect(waited.sort()).toEqual(["abort", "report"]);
    expect(created).toHaveLength(2);
    expect(await stillOpen(created)).toEqual([]);
    const keys = [...small, first ?? ""];
    expect(await keysInR2(run.prefix)).toEqual(keys);
    expect(said(await reportLines(run))).toEqual(keys.map((key) => `${key}: copied`));
    await expectManifest(run.dataset, keys);
    expect(await statusOf(run)).toMatchObject({ state: "cancelled", problem: null, copied: { objects: 4 } });
    expect(await isSettled(run)).toBe(true);
    await expectNothingLeft(run);
  });
});

describe("a run whose own records are as many as an object holds", { timeout: 300_000 }, () => {
  /** Has the run's object see a database of this size, until it is evicted: nobody fills eight gigabytes for a test. */
  const growTo = (run: TestRun, bytes: number): Promise<void> =>
    runInDurableObject(migrationOf(env, run.id), (_, { storage }) => {
      Object.defineProperty(storage.sql, "databaseSize", { value: bytes, configurable: true });
      expect(storage.sql.databaseSize).toBe(bytes);
    });

  async function start(name: string): Promise<{ run: TestRun; created: Upload[] }> {
    const { bucket, created } = notingUploads();
    const many = Array.from({ length: 19 }, (_, i) => [`m${String(i).padStart(2, "0")}`, bytesOf(10 + i, i)] as const);
    await fill(`${name}/`, new Map([["0", bytesOf(PART_BYTES + 1, 1)], ...many, ...many.map(behind)]));
    await registerDataset(name, `${name}/`);
    return { run: await startRun(name, envWith("pages-of-20", { DATASETS: bucket })), created };
  }
  const behind = ([key, bytes]: readonly [string, Uint8Array<ArrayBuffer>]) => [`n${key}`, bytes] as const;

  /** The first page is recorded and its large object opened; then the list message of the second comes. */
  async function carryToSecondPage(run: TestRun, bytes: number): Promise<void> {
    let pages = 0;
    await carry(run, {
      hand: (letter, seen) => {
        const before = async () => {
          pages += 1;
          if (pages !== 2) return;
          const uploads = (await unsettled(run)).filter(({ type }) => type === "upload");
          for (const { seq, body } of uploads) {
            const opening = { queue: "migration", body: { ...(JSON.parse(body) as object), seq }, deliveries: 0 };
            expect(await deliver(opening, seen)).toBe("ack");
          }
          await growTo(run, bytes);
        };
        return deliver(letter, around(seen, "recordPage", { before }));
      },
    });
    expect(pages).toBeGreaterThan(1);
  }

  it("fails as manifest-full at the next page, and leaves nothing open", async () => {
    const { run, created } = await start("ended-full");
    await carryToSecondPage(run, MIGRATION_MAX_BYTES + 1);
    const { state, problem, listed } = await statusOf(run);
    expect({ state, code: problem?.code }).toEqual({ state: "failed", code: "manifest-full" });
    expect(problem?.detail).toContain("8 GB");
    expect(listed, "the second page is not recorded").toMatchObject({ objects: 20, complete: false });
    expect(created).toHaveLength(1);
    expect(await stillOpen(created)).toEqual([]);
    const keys = await keysInR2(run.prefix);
    expect(keys.filter((key) => key.startsWith("n"))).toEqual([]);
    expect(keys, "what was open was not finished").not.toContain("0");
    await expectManifest(run.dataset, keys);
    expect(await isSettled(run)).toBe(true);
    await expectNothingLeft(run);
  });

  it("goes on up to the last byte", async () => {
    const { run } = await start("ended-not-full");
    await carryToSecondPage(run, MIGRATION_MAX_BYTES);
    expect(await statusOf(run)).toMatchObject({ state: "done", problem: null, copied: { objects: 39 } });
    await expectNothingLeft(run);
  });
});
