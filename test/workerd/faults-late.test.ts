import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact, expectNothingLeft } from "./harness/expect-exact.ts";
import { registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { dice, SEED } from "./harness/seed.ts";
import { bytesOf, envWith, fill, PART_BYTES, sixtyAndTwo, type Stored, text } from "./harness/source.ts";
import { notingUploads, stillOpen, type Upload, withUploadMethod } from "./harness/uploads.ts";

let source: Map<string, Stored>;
beforeAll(async () => {
  const { objects, multipart } = sixtyAndTwo();
  source = await fill("late/", objects, { multipart });
});

async function start(name: string): Promise<{ run: TestRun; created: Upload[] }> {
  const { bucket, created } = notingUploads();
  await registerDataset(name, "late/");
  return { run: await startRun(name, envWith("pages-of-20", { DATASETS: bucket })), created };
}

/** What R2 has under the prefix: each put makes another version. */
async function versions(run: TestRun): Promise<string[]> {
  const { objects } = await env.DATASETS.list({ prefix: run.prefix });
  return objects.map(({ key, version }) => `${key} ${version}`);
}

const shuffled = (letters: readonly Letter[], chance: () => number): Letter[] =>
  letters
    .map((letter) => ({ letter, place: chance() }))
    .sort((a, b) => a.place - b.place)
    .map(({ letter }) => letter);

describe("messages that come late", { timeout: 300_000 }, () => {
  it(`change nothing when all of them come again after the run (seed ${SEED})`, async () => {
    const { run, created } = await start("again-after");
    const letters: Letter[] = [];
    await carry(run, {
      hand: (letter, seen) => {
        letters.push({ ...letter });
        return deliver(letter, seen);
      },
    });
    const before = await expectExact(run, source);
    const stored = await versions(run);
    for (const letter of shuffled(letters, dice(1))) expect(await deliver(letter, run.env)).toBe("ack");
    const { operations: _1, updatedAt: _2, ...after } = await expectExact(run, source);
    expect(before).toMatchObject(after);
    expect(await versions(run), "no object was put again").toEqual(stored);
    expect(created).toHaveLength(2);
    expect(await stillOpen(created)).toEqual([]);
  });

  it(`change nothing when each of them was believed lost, and done by another (seed ${SEED})`, async () => {
    const { run, created } = await start("believed-lost");
    const seen = new Set<number>();
    const late: Letter[] = [];
    await carry(run, {
      // What is sent for the first time is on its way until the end; what is sent again arrives.
      arrange: (letters) =>
        letters.filter((letter) => {
          const isAgain = seen.size === seen.add(letter.body.seq).size;
          if (!isAgain) late.push(letter);
          return isAgain;
        }),
    });
    await expectExact(run, source);
    expect(late.length).toBeGreaterThan(10);
    const stored = await versions(run);
    for (const letter of shuffled(late, dice(2))) expect(await deliver(letter, run.env)).toBe("ack");
    await expectExact(run, source);
    expect(await versions(run), "no object was put again").toEqual(stored);
    expect(await stillOpen(created)).toEqual([]);
  });
});

describe("a user's put between the last part and complete", { timeout: 300_000 }, () => {
  it.each([
    ["where nothing was", null],
    ["over what was there", "an older object of theirs"],
  ])("%s: stays, and is a destination-changed", async (_, was) => {
    const name = was === null ? "users-put" : "users-overwrite";
    const objects = new Map([
      ["large", bytesOf(2 * PART_BYTES + 1, 3)],
      ["other", text("other")],
    ]);
    await fill(`${name}/`, objects);
    if (was !== null) await env.DATASETS.put(`${name}/large`, was);
    const { bucket, created } = notingUploads();
    const sent: number[] = [];
    const putting = withUploadMethod(bucket, "uploadPart", async (upload, ...args) => {
      const part = await upload.uploadPart(...args);
      sent.push(args[0]);
      if (sent.length === 3) await env.DATASETS.put(`${name}/large`, "the user's");
      return part;
    });
    await registerDataset(name, `${name}/`);
    const run = await startRun(name, envWith("plain", { DATASETS: putting }));
    await carry(run);
    expect(sent.toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
    const { state, failures, listed, copied } = await statusOf(run);
    expect(failures.map(({ key, code }) => [key, code])).toEqual([["large", "destination-changed"]]);
    expect({ state, listed: listed.objects, copied: copied.objects }).toEqual({ state: "done", listed: 2, copied: 1 });
    expect(await (await env.DATASETS.get(`${name}/large`))?.text()).toBe("the user's");
    await expectNothingLeft(run);
    expect(created).toHaveLength(1);
    expect(await stillOpen(created)).toEqual([]);
  });
});
