import { describe, expect, it } from "vitest";
import { carry, deliver } from "./harness/delivery.ts";
import { expectExact } from "./harness/expect-exact.ts";
import { type Fate, failingBucket } from "./harness/failing-bucket.ts";
import { registerDataset, startRun } from "./harness/run.ts";
import { bytesOf, envWithSource, fill, PART_BYTES } from "./harness/source.ts";
import { notingUploads, replacing, stillOpen, withUploadMethod } from "./harness/uploads.ts";

const bytes = bytesOf(PART_BYTES + 54_321, 5);

/**
 * A run of one object in parts whose first upload R2 completes, and answers that there is no such upload; the look at
 * what is there fails as well. So the object is started again while it is there, as a copy of this very run.
 */
async function start(name: string, fate: Fate = () => null) {
  const source = await fill(`${name}/`, new Map([["large", bytes]]));
  const { bucket, created } = notingUploads();
  let [completed, isUnseen] = [0, false];
  const completing = withUploadMethod(bucket, "complete", async (upload, parts) => {
    const answer = await upload.complete(parts);
    if (completed++ > 0) return answer;
    isUnseen = true;
    throw new Error("complete: The specified multipart upload does not exist. (10024)");
  });
  const head = (key: string) => {
    if (!isUnseen) return completing.head(key);
    isUnseen = false;
    return Promise.reject(new Error("Network connection lost."));
  };
  const { bucket: seen } = failingBucket(replacing(completing, { head }), fate);
  await registerDataset(name, `${name}/`);
  const run = await startRun(name, envWithSource({}, { DATASETS: seen }));
  return { run, source, created, completed: () => completed };
}

describe("an upload of an object that an earlier one of the run was completed to", { timeout: 300_000 }, () => {
  /** The object is copied exactly, the first upload is the one that was completed, and the second is not left open. */
  async function expectOne(
    { run, source, created, completed }: Awaited<ReturnType<typeof start>>,
    begins: (type: string) => void = () => undefined,
  ): Promise<void> {
    await carry(run, {
      hand: (letter, seen) => {
        begins((letter.body as { type: string }).type);
        return deliver(letter, seen);
      },
    });
    const { copied } = await expectExact(run, source);
    expect(copied.objects).toBe(1);
    expect([created.length, completed()]).toEqual([2, 1]);
    expect(await stillOpen(created)).toEqual([]);
  }

  it("is aborted, and the object is counted once", async () => {
    await expectOne(await start("unanswered-complete"));
  });

  it.each(["refused", "unanswered"] as const)("is aborted in the end where that is %s at first", async (mishap) => {
    let [isFinish, failed] = [false, 0];
    const fate: Fate = (method) => (isFinish && method === "abort" && failed++ < 2 ? mishap : null);
    await expectOne(await start(`abort-${mishap}`, fate), (type) => (isFinish = type === "finish"));
    expect(failed, "it was tried until it was answered").toBe(3);
  });
});
