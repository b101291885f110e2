import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf, migrationOf } from "../../workers/adapters/objects.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import { rowOfPut } from "../harness/rows.ts";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact, expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { expectManifest } from "./harness/extraneous.ts";
import { around, type Recording } from "./harness/interrupted.ts";
import { must, passTime, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { dice, SEED } from "./harness/seed.ts";
import { bytesOf, envWith, fill, PART_BYTES, type Stored, text } from "./harness/source.ts";
import { until } from "./harness/time.ts";
import { notingUploads, stillOpen, type Upload } from "./harness/uploads.ts";

let source: Map<string, Stored>;
beforeAll(async () => {
  const small = Array.from({ length: 25 }, (_, i) => [`k${String(i).padStart(2, "0")}`, bytesOf(50 + i, i)] as const);
  source = await fill("control/", new Map([...small, ["large", bytesOf(PART_BYTES + 1, 99)]]));
});
afterEach(() => vi.restoreAllMocks());

/** Where a run is when somebody steps in: before a call by which the consumer of such a message records what it did, or after. */
interface Stage {
  type: Letter["body"]["type"] | null;
  call?: Recording;
  when?: "before" | "after";
}
const STAGES: [name: string, stage: Stage][] = [
  ["before the first page is listed", { type: null }],
  ["while a page is listed", { type: "list", call: "recordPage", when: "before" }],
  ["with copies under way", { type: "copy", call: "settleBatch", when: "before" }],
  ["while an upload is created", { type: "upload", call: "openUpload", when: "before" }],
  ["between two parts", { type: "part", call: "settlePart", when: "after" }],
  ["while an upload is completed", { type: "finish", call: "settleUpload", when: "before" }],
  ["while it deletes", { type: "delete", call: "settleBatch", when: "before" }],
  ["when its report is asked for", { type: "report" }],
];

interface Given {
  run: TestRun;
  created: Upload[];
  /** Every letter that was handed over, as it was sent. */
  letters: Letter[];
  /** Requests to the source and to R2 so far. */
  requests: () => number;
}

/** A run that has objects to list, copy, copy in parts, and delete. */
async function start(name: string): Promise<Given> {
  let requests = 0;
  const { bucket, created } = notingUploads();
  const counted = (of: R2Bucket): R2Bucket =>
    new Proxy(of, {
      get(target, property) {
        const value: unknown = Reflect.get(target, property);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          requests += 1;
          return (value as (...all: unknown[]) => unknown).apply(target, args);
        };
      },
    });
  const real = globalThis.fetch.bind(globalThis);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (...args: Parameters<typeof fetch>) => {
    requests += 1;
    return real(...args);
  });
  await registerDataset(name, "control/");
  for (const key of ["gone/1", "gone/2"]) await putAsAMigrationDid(name, key);
  const seen = envWith("pages-of-20", { DATASETS: counted(bucket), SYSTEM: counted(env.SYSTEM) });
  const run = await startRun(name, seen, { deleteExtraneous: true, maxDelete: 2 });
  return { run, created, letters: [], requests: () => requests };
}

async function putAsAMigrationDid(dataset: string, key: string): Promise<void> {
  const writer = "mig_00000000000000000000000000";
  const customMetadata = { [ORIGIN.migration]: writer, [ORIGIN.etag]: "e", [ORIGIN.modifiedAt]: "0" };
  const put = await env.DATASETS.put(`${dataset}/${key}`, text(key), { customMetadata });
  const copied = { proof: "md5", sourceEtag: "e", sourceModifiedAt: 0 } as const;
  const row = rowOfPut(key, put, { ...copied, contentType: "text/plain", writer });
  must(await datasetOf(env, dataset).applyRows(`ds_${dataset}`, [row]));
}

/** Hands letters over until the run has ended; `stepIn` is called once, at this stage, with the letter that it is about. */
async function carryTo(
  given: Given,
  { type, call, when = "before" }: Stage,
  stepIn: (letter: Letter | null) => Promise<void>,
  hooks: {
    hand?: (letter: Letter, handOver: () => Promise<"ack" | "retry">) => Promise<"ack" | "retry">;
    wait?: () => Promise<void>;
  } = {},
): Promise<void> {
  const { run, letters } = given;
  let isDone = false;
  const once = async (letter: Letter | null) => {
    if (isDone) return;
    isDone = true;
    await stepIn(letter);
  };
  if (type === null) await once(null);
  await carry(run, {
    hand: async (letter, seen) => {
      letters.push({ ...letter });
      const isIt = letter.body.type === type;
      if (isIt && call === undefined) await once(letter);
      const interrupted = isIt && call !== undefined ? around(seen, call, { [when]: () => once(letter) }) : seen;
      const handOver = () => deliver(letter, interrupted);
      return hooks.hand === undefined ? handOver() : hooks.hand(letter, handOver);
    },
    wait: hooks.wait ?? (() => passTime(run)),
  });
  expect(isDone, "the run has come to the stage").toBe(true);
}

const outboxOf = (run: TestRun) =>
  runInDurableObject(migrationOf(env, run.id), (_, { storage }) =>
    storage.sql
      .exec<{ seq: number; type: string; due: number | null; sends: number; tries: number }>(
        "SELECT seq, type, due_at AS due, sends, tries FROM outbox WHERE queue = 'migration' ORDER BY seq",
      )
      .toArray(),
  );

describe("a run that is paused", { timeout: 300_000 }, () => {
  it.each(STAGES)("%s begins nothing more, settles what it has begun, and goes on exactly", async (_, stage) => {
    const given = await start(`pause-${stage.type ?? "first"}`);
    const { run, created, letters, requests } = given;
    let isPaused = false;
    let waits = 0;
    await carryTo(
      given,
      stage,
      async () => {
        expect(must(await migrationOf(env, run.id).pause()).state).toBe("paused");
        isPaused = true;
      },
      {
        hand: async (letter, handOver) => {
          if (!isPaused || letter.queue === "manifest") return handOver();
          const before = requests();
          expect(await handOver()).toBe("ack");
          expect(requests(), `a ${letter.body.type} message that comes after the pause`).toBe(before);
          return "ack";
        },
        wait: async () => {
          if (!isPaused) return passTime(run);
          waits += 1;
          const { state, copied, secondsLeft } = await statusOf(run);
          expect({ state, isOver: secondsLeft === 0 && copied.objects === 0 }).toEqual({
            state: "paused",
            isOver: false,
          });
          if (stage.type === "copy") expect(copied.objects, "what was under way is counted").toBeGreaterThan(0);
          // Nothing is sent while it is paused, and nothing that comes late or again begins.
          const held = await outboxOf(run);
          expect(held.filter(({ due }) => due !== null)).toEqual([]);
          expect(held.filter(({ tries }) => tries > 0)).toEqual([]);
          await passTime(run, 10_000);
          expect(await outboxOf(run)).toEqual(held);
          const before = requests();
          for (const letter of letters.slice()) expect(await deliver({ ...letter }, run.env)).toBe("ack");
          expect(requests()).toBe(before);
          expect(must(await migrationOf(env, run.id).pause()).state, "pausing it again changes nothing").toBe("paused");
          isPaused = false;
          expect(must(await migrationOf(env, run.id).resume()).state).not.toBe("paused");
          expect(must(await migrationOf(env, run.id).resume()).state).not.toBe("paused");
        },
      },
    );
    expect(waits).toBe(1);
    const tries = letters.flatMap(({ body }) => (body.type === "copy" ? [body.tries] : []));
    expect(new Set(tries), "no try was burnt").toEqual(new Set([0]));
    const { extraneous } = await expectExact(run, source);
    expect(extraneous).toEqual({ objects: 2, deleted: 2 });
    expect(created).toHaveLength(1);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("stays held back where the queue refused a send just then", async () => {
    const { run } = await start("pause-refused");
    const stub = migrationOf(env, run.id);
    const [list] = await outboxOf(run);
    let isAsked = false;
    const state = { isPaused: false };
    vi.spyOn(Object.getPrototypeOf(env.MIGRATION_QUEUE) as Queue, "sendBatch").mockImplementation(async () => {
      isAsked = true;
      while (!state.isPaused) await new Promise((done) => setTimeout(done, 5));
      throw new Error("Queue is overloaded.");
    });
    const sending = stub.putOff(list?.seq ?? 0, 0);
    await until(() => isAsked);
    must(await stub.pause());
    state.isPaused = true;
    await sending;
    vi.restoreAllMocks();
    expect(await outboxOf(run)).toMatchObject([{ type: "list", due: null, sends: 1, tries: 0 }]);
    must(await stub.resume());
    await carry(run);
    await expectExact(run, source);
  });
});

describe("a run that is cancelled", { timeout: 300_000 }, () => {
  /** What is kept of a cancelled run, whatever comes late; and that the next one takes it from there. */
  async function expectCancelled({ run, created, letters }: Given): Promise<void> {
    const before = await statusOf(run);
    expect({ state: before.state, problem: before.problem }).toEqual({ state: "cancelled", problem: null });
    await expectNothingLeft(run);
    expect(await stillOpen(created)).toEqual([]);
    const keys = await keysInR2(run.prefix);
    await expectManifest(run.dataset, keys);
    const copies = keys.filter((key) => source.has(key));
    expect(before.copied.objects).toBe(copies.length);
    expect(before.extraneous.deleted).toBe(2 - (keys.length - copies.length));
    for (const letter of letters.toReversed()) expect(await deliver({ ...letter }, run.env)).toBe("ack");
    const { operations: _1, updatedAt: _2, ...after } = await statusOf(run);
    expect(before).toMatchObject(after);
    await expectNothingLeft(run);
    for (const control of ["cancel", "pause", "resume"] as const) {
      const refused = await migrationOf(env, run.id)[control]();
      expect(refused).toMatchObject({ ok: false, failure: { code: "migration-ended" } });
    }
    const next = await startRun(run.dataset, run.env, { deleteExtraneous: true, maxDelete: 2 });
    await carry(next);
    const { skipped } = await expectExact(next, source);
    expect(skipped.objects, "what was copied is not copied again").toBe(copies.length);
  }

  it.each(STAGES)("%s leaves nothing open, and keeps what was copied", async (_, stage) => {
    const given = await start(`cancel-${stage.type ?? "first"}`);
    const { run } = given;
    await carryTo(given, stage, async () => {
      expect(must(await migrationOf(env, run.id).cancel()).state).toBe("cancelled");
      const { migration } = must(await datasetOf(env, run.dataset).describe());
      expect(migration, "the dataset is free at once").toBe(null);
    });
    await expectCancelled(given);
  });

  it.each(STAGES)("%s, and was paused just before, does so too", async (_, stage) => {
    const given = await start(`halt-${stage.type ?? "first"}`);
    const { run } = given;
    const sendsOf = async (seq: number) => (await outboxOf(run)).find((row) => row.seq === seq)?.sends ?? 0;
    await carryTo(given, stage, async (letter) => {
      const before = letter === null ? 0 : await sendsOf(letter.body.seq);
      must(await migrationOf(env, run.id).pause());
      expect(must(await migrationOf(env, run.id).cancel()).state).toBe("cancelled");
      // What is sent once more comes to a second consumer, while the first is at it.
      if (letter === null || (await sendsOf(letter.body.seq)) <= before) return;
      expect(await deliver({ ...letter }, run.env)).toBe("ack");
    });
    await expectCancelled(given);
  });

  it("after it was paused for long, with what was held back", async () => {
    const given = await start("cancel-held");
    const { run } = given;
    let isPaused = false;
    await carryTo(
      given,
      { type: "copy" },
      async () => {
        must(await migrationOf(env, run.id).pause());
        isPaused = true;
      },
      {
        wait: async () => {
          if (!isPaused) return passTime(run);
          isPaused = false;
          expect(await outboxOf(run)).not.toEqual([]);
          must(await migrationOf(env, run.id).cancel());
        },
      },
    );
    await expectCancelled(given);
  });

  it("was one that somebody started: another is unknown", async () => {
    const stub = migrationOf(env, "mig_00000000000000000000000001");
    for (const control of ["cancel", "pause", "resume"] as const) {
      expect(await stub[control]()).toMatchObject({ ok: false, failure: { code: "unknown-migration" } });
    }
  });
});

it("a run that is done can be neither paused nor resumed nor cancelled", { timeout: 300_000 }, async () => {
  const { run } = await start("ended");
  await carry(run);
  for (const control of ["cancel", "pause", "resume"] as const) {
    const refused = await migrationOf(env, run.id)[control]();
    expect(refused).toMatchObject({ ok: false, failure: { code: "migration-ended" } });
  }
  await expectExact(run, source);
});

describe("whatever happens to it on its way, a run", { timeout: 300_000 }, () => {
  /** Each letter is lost, or comes up to three times; in any order. */
  const misdeliver = (letters: readonly Letter[], chance: () => number): Letter[] =>
    letters
      .flatMap((letter) => Array.from({ length: Math.floor(chance() * 4) }, () => ({ letter, place: chance() })))
      .sort((a, b) => a.place - b.place)
      .map(({ letter }) => letter);

  /** Evicts the object of the run, which loses all that it has not stored. */
  async function evict({ id }: TestRun): Promise<void> {
    const stub = migrationOf(env, id);
    await stub.status(); // One that is not there cannot be evicted.
    await evictDurableObject(stub);
  }

  it.each([1, 2, SEED])("is exact: paused, resumed, evicted, its messages misdelivered (seed %i)", async (seed) => {
    const chance = dice(seed);
    const { run, created } = await start(`tossed-${seed}`);
    const stub = migrationOf(env, run.id);
    const counts = { pause: 0, resume: 0, evict: 0 };
    // Each of them at least once, however consumers take turns.
    const sure = [0.2, 0, 0.4];
    const toss = async () => {
      const die = sure.shift() ?? chance();
      if (die < 0.15) {
        counts.evict += 1;
        await evict(run);
      } else if (die < 0.35) counts.pause += (await stub.pause()).ok ? 1 : 0;
      else if (die < 0.6) counts.resume += (await stub.resume()).ok ? 1 : 0;
    };
    await carry(run, {
      arrange: (letters) => misdeliver(letters, chance),
      consumers: 1 + (seed % 3),
      hand: async (letter, seen) => {
        await toss();
        return deliver(letter, seen);
      },
      wait: async () => {
        await stub.resume();
        await passTime(run);
      },
    });
    expect(Math.min(...Object.values(counts)), JSON.stringify(counts)).toBeGreaterThan(0);
    await expectExact(run, source);
    expect(await stillOpen(created)).toEqual([]);
  });

  it.each([1, 2, SEED])("leaves nothing open when it is cancelled in the middle of it (seed %i)", async (seed) => {
    const chance = dice(1000 + seed);
    const { run, created } = await start(`dropped-${seed}`);
    const stub = migrationOf(env, run.id);
    let left = 1 + Math.floor(chance() * 8);
    await carry(run, {
      arrange: (letters) => misdeliver(letters, chance),
      hand: async (letter, seen) => {
        if (chance() < 0.2) await evict(run);
        if (--left === 0) await stub.cancel();
        return deliver(letter, seen);
      },
    });
    await expectNothingLeft(run);
    expect(await stillOpen(created)).toEqual([]);
    await expectManifest(run.dataset, await keysInR2(run.prefix));
    const next = await startRun(run.dataset, run.env, { deleteExtraneous: true, maxDelete: 2 });
    await carry(next);
    await expectExact(next, source);
  });

  it(`is exact when the queue refuses half of what is sent (seed ${SEED})`, async () => {
    const chance = dice(7);
    let refused = 0;
    const prototype = Object.getPrototypeOf(env.MIGRATION_QUEUE) as Queue;
    const real = prototype.sendBatch;
    vi.spyOn(prototype, "sendBatch").mockImplementation(async function (this: Queue, ...args) {
      if (chance() < 0.5) return real.apply(this, args);
      refused += 1;
      throw new Error("Queue is overloaded.");
    });
    const { run, created, letters } = await start("refused");
    await carry(run, {
      hand: (letter, seen) => {
        letters.push(letter);
        return deliver(letter, seen);
      },
    });
    expect(refused).toBeGreaterThan(2);
    await expectExact(run, source);
    const { operations } = await statusOf(run);
    // A write, a read and a delete for each that was sent, and none for one that was refused.
    expect(operations.queue).toBe(3 * letters.length);
    expect(await stillOpen(created)).toEqual([]);
  });
});
