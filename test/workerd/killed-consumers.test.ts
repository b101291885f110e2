import { beforeAll, describe, expect, it } from "vitest";
import { bury, carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact, expectNothingLeft } from "./harness/expect-exact.ts";
import { around, kill, type Recording } from "./harness/interrupted.ts";
import { cutListing, passTime, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { envWith, fill, sixtyAndTwo, type Stored } from "./harness/source.ts";
import { notingUploads, stillOpen, type Upload, withUploadMethod } from "./harness/uploads.ts";

let source: Map<string, Stored>;
beforeAll(async () => {
  const { objects, multipart } = sixtyAndTwo();
  source = await fill("killed/", objects, { multipart });
});

async function start(name: string, cut?: string): Promise<{ run: TestRun; created: Upload[] }> {
  const { bucket, created } = notingUploads();
  await registerDataset(name, "killed/");
  if (cut !== undefined) await cutListing(name, cut);
  return { run: await startRun(name, envWith("pages-of-20", { DATASETS: bucket })), created };
}

const isOf = (type: Letter["body"]["type"]) => (letter: Letter) => letter.body.type === type;

/** Whether work is delivered for the first time; what was sent again after a silence is the same work. */
function firsts(): (letter: Letter) => boolean {
  const seen = new Set<number>();
  return ({ body: { seq } }) => seen.size < seen.add(seq).size;
}

/**
 * Delivers to a consumer that is killed after a call. It sends no part after that, and what it was sending has come to its end
 * when this ends: a part that came later still would replace the one that is sent again, and the object be begun anew (below).
 */
async function deliverKilled(letter: Letter, seen: Env, call: Recording): Promise<"ack" | "retry"> {
  let isDead = false;
  const sending: Promise<unknown>[] = [];
  const DATASETS = withUploadMethod(seen.DATASETS, "uploadPart", (upload, ...args) => {
    if (isDead) return Promise.reject(new Error("The consumer is dead."));
    const sent = upload.uploadPart(...args);
    sending.push(sent);
    return sent;
  });
  const after = () => {
    isDead = true;
    kill();
  };
  const answer = await deliver(letter, around({ ...seen, DATASETS }, call, { after }));
  await Promise.allSettled(sending);
  return answer;
}

describe("a consumer may be killed anywhere", { timeout: 300_000 }, () => {
  const recordings: Recording[] = ["recordPage", "settleBatch", "openUpload", "settlePart", "settleUpload"];

  it.each(recordings)("with its work done and not recorded: before %s", async (call) => {
    const { run, created } = await start(`before-${call.toLowerCase()}`);
    const isFirst = firsts();
    await carry(run, {
      hand: (letter, seen) => deliver(letter, isFirst(letter) ? around(seen, call, { before: kill }) : seen),
    });
    await expectExact(run, source);
    // An upload that nobody could record is left to R2, which drops it after seven days.
    expect(await stillOpen(created)).toHaveLength(call === "openUpload" ? 2 : 0);
  });

  it.each(recordings)("with its work recorded and not acknowledged: after %s", async (call) => {
    const { run, created } = await start(`after-${call.toLowerCase()}`);
    const isFirst = firsts();
    await carry(run, {
      hand: (letter, seen) => (isFirst(letter) ? deliverKilled(letter, seen, call) : deliver(letter, seen)),
    });
    await expectExact(run, source);
    expect(created).toHaveLength(2);
    expect(await stillOpen(created)).toEqual([]);
  });
});

describe("two consumers at one upload", { timeout: 300_000 }, () => {
  it("settle only the claim that holds a part", async () => {
    const { run, created } = await start("stale-claim");
    let stale = 0;
    await carry(run, {
      hand: (letter, seen) => {
        if (!isOf("part")(letter) || letter.deliveries > 0) return deliver(letter, seen);
        // The first has sent its part and is slow to say so. Its claim runs out, and a second sends all parts again.
        const before = async () => {
          if (stale++ > 0) return;
          await passTime(run);
          await deliver({ ...letter }, run.env);
        };
        return deliver(letter, around(seen, "settlePart", { before }));
      },
    });
    expect(stale).toBeGreaterThan(0);
    await expectExact(run, source);
    expect(created, "the parts that were settled are those that R2 holds").toHaveLength(2);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("start the object again where R2 holds another part than was settled", async () => {
    const { run, created } = await start("replaced-part");
    let replaced = 0;
    await carry(run, {
      hand: (letter, seen) => {
        if (!isOf("part")(letter) || letter.deliveries > 0) return deliver(letter, seen);
        // A part arrives at R2 long after its claim ran out, when a second has sent and settled all of them.
        const bucket = withUploadMethod(seen.DATASETS, "uploadPart", async (upload, ...args) => {
          if (replaced++ === 0) {
            await passTime(run);
            await deliver({ ...letter }, run.env);
          }
          return upload.uploadPart(...args);
        });
        return deliver(letter, { ...seen, DATASETS: bucket });
      },
    });
    expect(replaced).toBeGreaterThan(0);
    await expectExact(run, source);
    expect(created, "one of the two was created again").toHaveLength(3);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("complete it once where the answer of the first is lost", async () => {
    const { run, created } = await start("lost-answer");
    let completed = 0;
    const bucket = withUploadMethod(run.env.DATASETS, "complete", async (upload, parts) => {
      await upload.complete(parts);
      completed += 1;
      throw new Error("Network connection lost.");
    });
    await carry(run, {
      hand: (letter, seen) => deliver(letter, letter.deliveries === 0 ? { ...seen, DATASETS: bucket } : seen),
    });
    expect(completed).toBe(2);
    await expectExact(run, source);
    expect(created).toHaveLength(2);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("start the object again where the upload is gone", async () => {
    const { run, created } = await start("gone");
    await carry(run, {
      hand: async (letter, seen) => {
        if (isOf("part")(letter) && created.length <= 2) {
          for (const { key, uploadId } of created) await seen.DATASETS.resumeMultipartUpload(key, uploadId).abort();
        }
        return deliver(letter, seen);
      },
    });
    await expectExact(run, source);
    expect(created).toHaveLength(4);
    expect(await stillOpen(created)).toEqual([]);
  });
});

it("takes R2's word that an upload is gone, also before R2 has read the part", { timeout: 300_000 }, async () => {
  const { run, created } = await start("refused");
  let refused = 0;
  const bucket = withUploadMethod(run.env.DATASETS, "uploadPart", (upload, ...args) => {
    if (refused++ > 0) return upload.uploadPart(...args);
    return Promise.reject(new Error("uploadPart: The specified multipart upload does not exist. (10024)"));
  });
  await carry(run, { hand: (letter, seen) => deliver(letter, { ...seen, DATASETS: bucket }) });
  await expectExact(run, source);
  expect(created, "one of the two was created again, at once").toHaveLength(3);
  expect(await stillOpen(created)).toEqual([]);
});

describe("a run that has failed", { timeout: 300_000 }, () => {
  it.each(["settlePart", "settleUpload"] as const)("stays quiet when a consumer comes late to %s", async (call) => {
    const { run, created } = await start(`late-${call.toLowerCase()}`, "v");
    let last: Letter | undefined;
    await carry(run, {
      // The list message of the last range waits until an upload is under way, and is then given up.
      arrange: (letters) => {
        last ??= letters.find(({ body }) => body.type === "list" && body.after === "v");
        // However often the outbox sends it meanwhile.
        return letters.filter(({ body }) => body.seq !== last?.body.seq);
      },
      hand: (letter, seen) => {
        const before = async () => {
          if (last !== undefined) await bury(last, seen);
        };
        return deliver(letter, around(seen, call, { before }));
      },
    });
    const { state, problem } = await statusOf(run);
    expect({ state, code: problem?.code }).toEqual({ state: "failed", code: "dead-letter" });
    await expectNothingLeft(run);
    expect(await stillOpen(created)).toEqual([]);
  });
});
