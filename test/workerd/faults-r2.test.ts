import { beforeAll, describe, expect, it } from "vitest";
import { carry } from "./harness/delivery.ts";
import { expectExact } from "./harness/expect-exact.ts";
import { type Fate, failingBucket } from "./harness/failing-bucket.ts";
import { passTime, registerDataset, startRun, type TestRun } from "./harness/run.ts";
import { dice, SEED } from "./harness/seed.ts";
import { envWith, fill, sixtyAndTwo, type Stored } from "./harness/source.ts";
import { notingUploads, stillOpen, type Upload } from "./harness/uploads.ts";

let source: Map<string, Stored>;
beforeAll(async () => {
  const { objects, multipart } = sixtyAndTwo();
  source = await fill("failing/", objects, { multipart });
});

async function start(name: string, fate: Fate): Promise<{ run: TestRun; created: Upload[]; failed: () => number }> {
  const { bucket, created } = notingUploads();
  const failing = failingBucket(bucket, fate);
  await registerDataset(name, "failing/");
  const run = await startRun(name, envWith("pages-of-20", { DATASETS: failing.bucket }));
  return { run, created, failed: failing.failed };
}

/** One call in five fails, half of these after their work. An upload whose creation is not answered is nobody's. */
const oneInFive =
  (chance: () => number): Fate =>
  (method) => {
    const die = chance() * 10;
    if (die < 1) return "refused";
    return die < 2 && method !== "createMultipartUpload" ? "unanswered" : null;
  };

describe("R2 calls that fail", { timeout: 300_000 }, () => {
  it(`are tried again, whether their work was done or not (seed ${SEED})`, async () => {
    const { run, created, failed } = await start("failing-calls", oneInFive(dice(1)));
    await carry(run);
    expect(failed()).toBeGreaterThan(5);
    await expectExact(run, source);
    expect(await stillOpen(created)).toEqual([]);
  });

  it(`are tried again, with two consumers at each message (seed ${SEED})`, async () => {
    const { run, created, failed } = await start("failing-twice", oneInFive(dice(2)));
    await carry(run, { arrange: (letters) => letters.flatMap((letter) => [letter, { ...letter }]), consumers: 8 });
    expect(failed()).toBeGreaterThan(5);
    await expectExact(run, source);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("are tried again where the upload that lost a race could not be aborted at once", async () => {
    let refused = 0;
    const { run, created } = await start("failing-aborts", (method) =>
      method === "abort" && refused++ < 2 ? "refused" : null,
    );
    await carry(run, { arrange: (letters) => letters.flatMap((letter) => [letter, { ...letter }]), consumers: 8 });
    expect(created.length, "both consumers of an upload message created one").toBeGreaterThan(2);
    expect(refused).toBeGreaterThan(0);
    await expectExact(run, source);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("are tried again when every first call of a kind did its work and was not answered", async () => {
    const seen = new Map<string, number>();
    const { run, created } = await start("unanswered", (method) => {
      const times = (seen.get(method) ?? 0) + 1;
      seen.set(method, times);
      return times <= 3 && method !== "createMultipartUpload" ? "unanswered" : null;
    });
    await carry(run);
    expect(seen.get("complete"), "of an upload that was completed and not answered, once").toBe(2);
    await expectExact(run, source);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("are waited for when all of them fail for a while", async () => {
    let calls = 0;
    let waits = 0;
    const isDown = () => ++calls > 20 && waits < 4;
    const { run, created, failed } = await start("outage", () => (isDown() ? "refused" : null));
    await carry(run, {
      wait: () => {
        waits += 1;
        return passTime(run);
      },
    });
    expect(failed()).toBeGreaterThan(4);
    await expectExact(run, source);
    expect(await stillOpen(created)).toEqual([]);
  });
});
