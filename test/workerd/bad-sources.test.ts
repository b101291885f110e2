import { describe, expect, it } from "vitest";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact, expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { passTime, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { bytesOf, envWith, fill, PART_BYTES, type Stored } from "./harness/source.ts";
import { notingUploads, stillOpen } from "./harness/uploads.ts";

/** limits.ts: TRIES_MAX. */
const TRIES = 5;
const STREAMED = 1.5 * 1024 * 1024;

/** Faults of one object: what becomes of it, and what the detail must say. See test/harness/fault-proxy.ts. */
const FAULTS = [
  ["html", "source-bad-answer", "Content-Type: text/html"],
  ["html-etag", "source-changed", "not the one that the source lists"],
  ["html-same-etag", "source-bad-answer", "bytes and announced 75"],
  ["truncate", "source-truncated", "broke off"],
  ["longer", "source-bad-answer", "announced"],
  ["shorter", "source-bad-answer", "announced"],
  ["unmeasured", "source-bad-answer", "no Content-Length"],
  ["wrong-byte", "checksum-mismatch", "another MD5"],
  ["etag-changed", "source-changed", "not the one that the source lists"],
  ["gzip", "source-bad-answer", "announced"],
  ["reset", "source-unreachable", "No answer from 127.0.0.1"],
  ["503", "source-throttled", "SlowDown"],
  ["404", "source-object-missing", "no longer at the source"],
  ["403", "source-forbidden", "AccessDenied"],
  ["redirect", "source-wrong-region", "eu-north-1"],
] as const;

/** Objects of a size, named after faults, and one sound one. */
const named = (size: number, names: readonly string[]): Map<string, Uint8Array<ArrayBuffer>> =>
  new Map(["sound", ...names].map((name, i) => [name, bytesOf(size, size + i)]));

const split = (source: ReadonlyMap<string, Stored>, isGood: (key: string) => boolean) => ({
  good: new Map([...source].filter(([key]) => isGood(key))),
  bad: new Map([...source].filter(([key]) => !isGood(key))),
});

/** Delivers, and looks after each delivery that R2 shows nothing of an object whose bytes are not right. */
const watching = (run: TestRun, good: ReadonlyMap<string, unknown>) => async (letter: Letter, seen: Env) => {
  const answer = await deliver(letter, seen);
  for (const key of await keysInR2(run.prefix)) expect(good.has(key), `${key} is visible in R2`).toBe(true);
  return answer;
};

describe.each([
  ["held in memory", "memory", 3000],
  ["streamed", "stream", STREAMED],
])("an object %s that its source serves wrongly", { timeout: 300_000 }, (_, name, size) => {
  it("becomes a failure that says why, and all others are copied", async () => {
    const dataset = `bad-${name}`;
    const source = await fill(
      `${dataset}/`,
      named(
        size,
        FAULTS.map(([fault]) => `fault-${fault}`),
      ),
    );
    const { good, bad } = split(source, (key) => key === "sound");
    await registerDataset(dataset, `${dataset}/`);
    const run = await startRun(dataset, envWith("plain"));
    await carry(run, { hand: watching(run, good) });
    const { failures } = await expectExact(run, good, bad);
    const said = new Map(failures.map(({ key, code, detail }) => [key, { code, detail }]));
    for (const [fault, code, detail] of FAULTS) {
      expect(said.get(`fault-${fault}`), fault).toEqual({ code, detail: expect.stringContaining(detail) as string });
    }
  });

  it("is copied when the fault passes before the last try", async () => {
    const dataset = `passing-${name}`;
    const passing = ["html", "truncate", "shorter", "wrong-byte", "reset", "503"].map((fault) => `fault-${fault}~2`);
    const source = await fill(`${dataset}/`, named(size, passing));
    await registerDataset(dataset, `${dataset}/`);
    const run = await startRun(dataset, envWith("plain"));
    await carry(run, { hand: watching(run, source) });
    await expectExact(run, source);
  });
});

describe("an object copied in parts that its source serves wrongly", { timeout: 300_000 }, () => {
  const PARTS = [
    ["html", "source-bad-answer", "Content-Type: text/html"],
    ["truncate", "source-truncated", "broke off"],
    ["longer", "source-bad-answer", "did not answer the range"],
    ["shorter", "source-bad-answer", "did not answer the range"],
    ["no-range", "source-bad-answer", "did not answer the range"],
    ["etag-changed", "source-changed", "changed"],
    ["reset", "source-unreachable", "No answer from 127.0.0.1"],
    ["503", "source-unavailable", "status 503"], // to a HEAD, whose answers have no body
    ["404", "source-object-missing", "no longer at the source"],
    ["redirect", "source-wrong-region", "eu-north-1"],
  ] as const;

  it.each(PARTS)(
    "%s: becomes a failure, its upload is aborted, and the others are copied",
    async (fault, code, detail) => {
      const dataset = `parts-${fault}`;
      const source = await fill(`${dataset}/`, named(PART_BYTES + 1000, [`fault-${fault}`]));
      const { good, bad } = split(source, (key) => key === "sound");
      const { bucket, created } = notingUploads();
      await registerDataset(dataset, `${dataset}/`);
      const run = await startRun(dataset, envWith("plain", { DATASETS: bucket }));
      await carry(run, { hand: watching(run, good) });
      const { failures } = await expectExact(run, good, bad);
      expect(failures).toEqual([{ key: `fault-${fault}`, code, detail: expect.stringContaining(detail) as string }]);
      expect(await stillOpen(created)).toEqual([]);
    },
  );

  it("is copied when the fault passes before the last try", async () => {
    // Each of the two HEADs and the GETs has its own answers.
    const passing = ["truncate~3", "etag-changed~2", "reset~1", "503~1"].map((fault) => `fault-${fault}`);
    const source = await fill("parts-passing/", named(PART_BYTES + 1000, passing));
    const { bucket, created } = notingUploads();
    await registerDataset("parts-passing", "parts-passing/");
    const run = await startRun("parts-passing", envWith("plain", { DATASETS: bucket }));
    await carry(run, { hand: watching(run, source) });
    await expectExact(run, source);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("wrong-byte: is proved by its parts at most, never by its ETag", async () => {
    const objects = named(PART_BYTES + 1000, ["fault-wrong-byte"]);
    const source = await fill("parts-wrong/", objects, { multipart: new Set(objects.keys()) });
    await registerDataset("parts-wrong", "parts-wrong/");
    const run = await startRun("parts-wrong", envWith("plain"));
    await carry(run);
    expect((await statusOf(run)).proofs).toEqual({ etag: 1, parts: 1 });
    expect(source.size).toBe(2);
  });
});

describe("an object that R2 refuses", () => {
  it("says so, and does not blame the source", async () => {
    const headers = { "x-amz-meta-much": "m".repeat(8150) };
    const source = await fill("metadata/", new Map([["streamed", bytesOf(STREAMED, 1)]]), { headers });
    await registerDataset("metadata", "metadata/");
    const run = await startRun("metadata", envWith("plain"));
    await carry(run);
    const { failures } = await expectExact(run, new Map(), source);
    expect(failures[0]).toMatchObject({ code: "metadata-too-large" });
  });
});

describe("a listing that its source serves wrongly", () => {
  async function list(fault: string): Promise<{ run: TestRun; source: Map<string, Stored>; lists: () => number }> {
    const prefix = `listing/fault-${fault}/`;
    const dataset = `listing-${fault.replace("~", "-")}`;
    const source = await fill(prefix, new Map([["a", bytesOf(10, 1)]]));
    await registerDataset(dataset, prefix);
    const run = await startRun(dataset, envWith("plain"));
    let lists = 0;
    await carry(run, {
      hand: (letter, seen) => {
        if (letter.body.type === "list") lists += 1;
        return deliver(letter, seen);
      },
      wait: () => passTime(run),
    });
    return { run, source, lists: () => lists };
  }

  it.each([
    ["html", "source-bad-answer", "not a ListBucketResult"],
    ["empty", "source-bad-answer", "not a ListBucketResult"],
    ["503", "source-throttled", "SlowDown"],
    ["reset", "source-unreachable", "No answer"],
  ])("%s: fails the run after bounded tries, and says why", async (fault, code, detail) => {
    const { run, lists } = await list(fault);
    const { state, problem, listed } = await statusOf(run);
    expect({ state, listed: listed.objects }).toEqual({ state: "failed", listed: 0 });
    expect(problem).toEqual({ code, detail: expect.stringContaining(detail) as string });
    expect(lists()).toBeGreaterThanOrEqual(TRIES);
    await expectNothingLeft(run);
  });

  it.each(["403", "404", "redirect"])("%s: fails the run at once", async (fault) => {
    const { run, lists } = await list(fault);
    expect((await statusOf(run)).state).toBe("failed");
    expect(lists()).toBe(1);
    await expectNothingLeft(run);
  });

  it.each(["html", "503", "truncate", "reset"])(
    "%s: is asked again, and the run goes on when that has passed",
    async (fault) => {
      const { run, source } = await list(`${fault}~3`);
      await expectExact(run, source);
    },
  );
});
