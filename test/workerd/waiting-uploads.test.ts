import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import type { ListedPage } from "../../durable-objects/migration/pages.ts";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { failure } from "../../workers/core/failure.ts";
import { MESSAGES_IN_FLIGHT_MAX } from "../../workers/core/limits.ts";
import { type CopyItem, uploadMessage } from "../../workers/core/migration/message.ts";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact, expectNothingLeft } from "./harness/expect-exact.ts";
import { around } from "./harness/interrupted.ts";
import { unsettled } from "./harness/outbox.ts";
import { cutListing, must, passTime, registerDataset, startRun, type TestRun } from "./harness/run.ts";
import { dice, SEED } from "./harness/seed.ts";
import { bytesOf, envWith, fill, PART_BYTES, type Stored } from "./harness/source.ts";
import { notingUploads, stillOpen } from "./harness/uploads.ts";

/** Objects in parts by their state; and how many the run believes to be waiting, which is to be true at all times. */
async function uploadsOf(run: TestRun): Promise<Record<string, number>> {
  const { states, believed } = await runInDurableObject(migrationOf(env, run.id), (_, { storage: { sql } }) => ({
    states: sql
      .exec<{ state: string; n: number }>("SELECT state, count(*) AS n FROM upload GROUP BY state")
      .toArray()
      .map(({ state, n }): [string, number] => [state, n]),
    believed: sql.exec<{ waiting: number }>("SELECT waiting FROM run").one().waiting,
  }));
  const counted = { waiting: 0, ...Object.fromEntries(states) };
  expect(believed, "the counter of those that wait").toBe(counted.waiting);
  return counted;
}

describe("objects in parts that wait for their turn are counted right", { timeout: 300_000 }, () => {
  let source: Map<string, Stored>;
  beforeAll(async () => {
    const large = bytesOf(PART_BYTES + 1, 5);
    const objects = Array.from({ length: 50 }, (_, i): [string, Uint8Array<ArrayBuffer>] => {
      const key = `k${String(i).padStart(2, "0")}`;
      return [key, i % 10 === 7 ? large : bytesOf(10 + i, i)];
    });
    source = await fill("waiting/", new Map(objects));
  });

  /** Each letter comes up to three times, in any order. */
  const repeated = (letters: readonly Letter[], chance: () => number): Letter[] =>
    letters
      .flatMap((letter) => Array.from({ length: 1 + Math.floor(chance() * 3) }, () => ({ letter, place: chance() })))
      .sort((a, b) => a.place - b.place)
      .map(({ letter }) => letter);

  it.each([
    ["is paused and resumed", 1],
    ["is paused and resumed", 2],
    ["is paused and resumed", SEED],
    ["is cancelled", 1],
    ["is cancelled", 2],
    ["is cancelled", SEED],
  ])("in a run that %s, with letters that come again (seed %i)", async (what, seed) => {
    const isCancelled = what === "is cancelled";
    const chance = dice(seed);
    const { bucket, created } = notingUploads();
    const name = `waiting-${isCancelled ? "cancelled" : "whole"}-${seed}`;
    await registerDataset(name, "waiting/");
    await cutListing(name, "k24");
    const run = await startRun(name, envWith("pages-of-20", { DATASETS: bucket }));
    const stub = migrationOf(env, run.id);
    let mostWaiting = 0;
    let left = 1 + Math.floor(chance() * 3);
    const look = async () => {
      const { waiting = 0 } = await uploadsOf(run);
      mostWaiting = Math.max(mostWaiting, waiting);
    };
    await carry(run, {
      arrange: (letters) => repeated(letters, chance),
      hand: async (letter, seen) => {
        // What a page names while the run is paused waits until it is resumed.
        const recording = { before: async () => void (await stub.pause()), after: look };
        const isFirst = mostWaiting === 0;
        const answer = await deliver(letter, isFirst || chance() < 0.5 ? around(seen, "recordPage", recording) : seen);
        await look();
        if (isCancelled && mostWaiting > 0 && --left === 0) must(await stub.cancel());
        else if (chance() < 0.2) await stub.resume();
        await look();
        return answer;
      },
      wait: async () => {
        await stub.resume();
        await look();
        await passTime(run);
        await look();
      },
    });
    expect(mostWaiting, "some have waited").toBeGreaterThan(0);
    expect(await uploadsOf(run)).toMatchObject({ waiting: 0 });
    if (isCancelled) await expectNothingLeft(run);
    else await expectExact(run, source);
    expect(await stillOpen(created)).toEqual([]);
  });
});

describe("more objects in parts than are under way at once", { timeout: 300_000 }, () => {
  const items = (from: number, to: number): CopyItem[] =>
    Array.from({ length: to - from }, (_, i) => ({
      key: `large/${String(from + i).padStart(4, "0")}`,
      ...{ size: PART_BYTES + 1, etag: "e", lastModified: 0, was: null },
    }));

  /** A page, as its consumer would report it, that names these objects. */
  const pageOf = (large: CopyItem[]): ListedPage => ({
    ...{ after: null, upTo: null, rest: null, cuts: [], proofs: {}, found: [], small: [], failures: [] },
    ...{ skipped: { objects: 0, bytes: 0 }, extraneous: [], hazards: {}, report: null },
    ...{ large, largeParts: 2 * large.length },
  });

  /** A run of two ranges, of which each page is recorded twice; the second names half of the first's objects again. */
  async function start(name: string): Promise<TestRun> {
    await registerDataset(name, `${name}/`);
    await cutListing(name, "m");
    const run = await startRun(name, envWith("plain"));
    const stub = migrationOf(env, run.id);
    const lists = (await unsettled(run)).map(({ seq }) => seq);
    expect(lists).toHaveLength(2);
    const pages = [pageOf(items(0, 400)), pageOf(items(200, 700))];
    const underWay = MESSAGES_IN_FLIGHT_MAX / 2;
    for (const [i, page] of pages.entries()) {
      for (let deliveries = 0; deliveries < 2; deliveries++) {
        await stub.recordPage(lists[i] ?? 0, page, {}, false);
        const { planned, waiting } = await uploadsOf(run);
        expect(planned).toBeLessThanOrEqual(underWay);
        expect((planned ?? 0) + (waiting ?? 0)).toBe([400, 700][i]);
      }
    }
    expect((await uploadsOf(run))["waiting"]).toBeGreaterThanOrEqual(700 - underWay);
    return run;
  }

  const opening = async (run: TestRun) => {
    const rows = (await unsettled(run)).filter(({ type }) => type === "upload");
    return rows.map(({ seq, body }) => uploadMessage.parse({ ...(JSON.parse(body) as object), seq }));
  };

  it(`all have their turn, though some start again and some fail (seed ${SEED})`, async () => {
    const chance = dice(11);
    const run = await start("waiting-many");
    const stub = migrationOf(env, run.id);
    const gone = failure("source-object-missing");
    for (let messages = await opening(run); messages.length > 0; messages = await opening(run)) {
      for (const message of messages) {
        const restart = chance() < 0.1 ? { item: message.item } : null;
        await stub.giveUpUpload(message, gone, restart, {});
        // A second consumer of the same message comes to the same end, and changes nothing.
        if (chance() < 0.1) await stub.giveUpUpload(message, gone, null, {});
      }
      await uploadsOf(run);
    }
    expect(await uploadsOf(run)).toEqual({ waiting: 0, failed: 700 });
  });

  it("wait no more when the run is cancelled", async () => {
    const run = await start("waiting-cancelled");
    const stub = migrationOf(env, run.id);
    must(await stub.cancel());
    expect(await uploadsOf(run)).toEqual({ waiting: 0, abandoned: 700 });
    for (const message of (await opening(run)).slice(0, 3))
      await stub.giveUpUpload(message, failure("source-changed"), null, {});
    expect(await uploadsOf(run)).toEqual({ waiting: 0, abandoned: 700 });
  });
});
