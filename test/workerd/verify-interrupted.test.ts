import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectNothingLeft } from "./harness/expect-exact.ts";
import { around, kill, type Recording } from "./harness/interrupted.ts";
import { must, startRun, statusOf } from "./harness/run.ts";
import { bytesOf, envWith, fill, PART_BYTES, sixtyAndTwo, text } from "./harness/source.ts";
import { replacing } from "./harness/uploads.ts";
import { copied, flipped, readingBucket, said, verify } from "./harness/verify.ts";

const isOf = (type: Letter["body"]["type"]) => (letter: Letter) => letter.body.type === type;

describe("a verification goes on where it was", { timeout: 300_000 }, () => {
  beforeAll(async () => {
    const { objects, multipart } = sixtyAndTwo();
    await fill("verified-on/", objects, { multipart });
    await copied("verify-on", "verified-on/");
  }, 300_000);
  const ALL = { md5: 61, etag: 1 };

  const recordings: Recording[] = ["recordPage", "settleBatch", "openUpload", "settlePart", "settleUpload"];
  it.each(recordings.flatMap((call) => [[call, "before"] as const, [call, "after"] as const]))(
    "when its consumers are killed: %s, %s",
    async (call, when) => {
      const seen = new Set<number>();
      let killed = 0;
      const { status } = await verify("verify-on", "deep", {
        hand: (letter, given) => {
          const isFirst = seen.size < seen.add(letter.body.seq).size;
          const die = () => {
            killed += 1;
            kill();
          };
          return deliver(letter, isFirst ? around(given, call, { [when]: die }) : given);
        },
      });
      expect(killed).toBeGreaterThan(0);
      expect(status.proofs).toEqual(ALL);
    },
  );

  it("between parts, and reads again only what was not settled", async () => {
    let parts = 0;
    const ranges: (string | undefined)[] = [];
    const bucket = replacing(env.DATASETS, {
      get: async (key: string, options?: R2GetOptions) => {
        if (key.endsWith("uploaded-in-parts.bin")) ranges.push(JSON.stringify(options?.range));
        return env.DATASETS.get(key, options);
      },
    });
    const { status } = await verify("verify-on", "deep", {
      seen: envWith("pages-of-20", { DATASETS: bucket }),
      hand: (letter, given) => {
        if (!isOf("part")(letter) || parts > 0) return deliver(letter, given);
        const after = () => {
          parts += 1;
          if (parts === 2) kill();
        };
        return deliver(letter, around(given, "settlePart", { after }));
      },
    });
    expect(status.proofs).toEqual(ALL);
    // Two parts are under way at once: the third was begun, or not, when its consumer was killed.
    expect(new Set(ranges).size).toBe(3);
    expect(ranges.length).toBeLessThanOrEqual(4);
  });

  it("when R2 fails for a while: as it is asked, and in mid-body", async () => {
    const asked = new Map<string, number>();
    const bucket = readingBucket(async (key, get) => {
      const before = asked.get(key) ?? 0;
      asked.set(key, before + 1);
      if (before === 0) throw new Error("We encountered an internal error. Please try again. (10001)");
      const got = await get();
      if (before > 1) return got;
      const broken = new TransformStream<Uint8Array, Uint8Array>({
        transform: (_, controller) => controller.error(new Error("Network connection lost.")),
      });
      return replacing(got, { body: got.body.pipeThrough(broken) });
    });
    const { status } = await verify("verify-on", "deep", { seen: envWith("pages-of-20", { DATASETS: bucket }) });
    expect(status.proofs).toEqual(ALL);
    expect(Math.min(...asked.values())).toBeGreaterThanOrEqual(2);
  });

  it("and ends as it is where it is cancelled: nothing was opened in R2, and nothing is aborted", async () => {
    const run = await startRun("verify-on", envWith("pages-of-20"), { verify: "deep" });
    let isCancelled = false;
    await carry(run, {
      hand: async (letter, seen) => {
        // Once: its messages come again after the silence, and find that the run has ended.
        if (isOf("part")(letter) && !isCancelled) must(await migrationOf(env, run.id).cancel());
        isCancelled ||= isOf("part")(letter);
        expect(letter.body.type).not.toBe("abort");
        return deliver(letter, seen);
      },
    });
    expect((await statusOf(run)).state).toBe("cancelled");
    await expectNothingLeft(run);
  });
});

describe("R2 changes between the listing and the reading", { timeout: 300_000 }, () => {
  const objects = new Map([
    ["small", bytesOf(3000, 80)],
    ["large", bytesOf(2 * PART_BYTES + 3, 81)],
  ]);
  const multipart = new Set(["large"]);
  beforeAll(() => fill("changing/", objects, { multipart }), 60_000);

  /** Lets something happen to both keys when they were listed. */
  async function changing(dataset: string, happens: (key: string, bytes: Uint8Array) => Promise<unknown>) {
    await copied(dataset, "changing/");
    return verify(dataset, "deep", {
      hand: async (letter, seen) => {
        const answer = await deliver(letter, seen);
        if (!isOf("list")(letter)) return answer;
        for (const [key, bytes] of objects) await happens(`${dataset}/${key}`, bytes);
        return answer;
      },
    });
  }

  it("to other bytes: they are what is verified", async () => {
    const deep = await changing("changing-bytes", (key) =>
      env.DATASETS.put(key, flipped(objects.get(key.split("/")[1] ?? "") ?? text(""), 0)),
    );
    expect(said(deep, "small")).toBe("copy-different");
    expect(said(deep, "large")).toBe("copy-unproved");
  });

  it("to the same bytes under another ETag: they are proved", async () => {
    const deep = await changing("changing-etag", (key, bytes) => env.DATASETS.put(key, bytes));
    expect(said(deep, "small")).toBe("md5");
    expect(said(deep, "large")).toBe("etag");
  });

  it("to another size", async () => {
    const deep = await changing("changing-size", (key) => env.DATASETS.put(key, "short"));
    expect([said(deep, "small"), said(deep, "large")]).toEqual(["copy-different", "copy-different"]);
  });

  it("to nothing", async () => {
    const deep = await changing("changing-gone", (key) => env.DATASETS.delete(key));
    expect([said(deep, "small"), said(deep, "large")]).toEqual(["copy-missing", "copy-missing"]);
  });
});

describe("the source changes between the listing and the reading", { timeout: 300_000 }, () => {
  it("and it is judged as it is now", async () => {
    const bytes = { small: bytesOf(3000, 90), large: bytesOf(PART_BYTES + 5, 91), gone: bytesOf(3000, 92) };
    await fill("moving/", new Map(Object.entries(bytes)));
    await copied("moving", "moving/");
    // In R2 is what the source will have only when it was listed.
    const next = { small: flipped(bytes.small, 5), large: flipped(bytes.large, 5) };
    for (const [key, now] of Object.entries(next)) await env.DATASETS.put(`moving/${key}`, now);
    const deep = await verify("moving", "deep", {
      hand: async (letter, seen) => {
        const answer = await deliver(letter, seen);
        if (isOf("list")(letter)) await fill("moving/", new Map(Object.entries(next)));
        return answer;
      },
    });
    expect([said(deep, "small"), said(deep, "large"), said(deep, "gone")]).toEqual(["md5", "md5", "md5"]);
  });
});
