import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { crc64Of, sha256Of } from "../../workers/adapters/digest.ts";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact, expectNothingLeft } from "./harness/expect-exact.ts";
import { intercept, withHeaders } from "./harness/intercept.ts";
import { around, kill } from "./harness/interrupted.ts";
import { reportLines } from "./harness/report-lines.ts";
import { registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { bytesOf, envWithSource, fill, type Stored, text } from "./harness/source.ts";
import { deliverMiss, missOf, reconfigure, rowAt } from "./harness/through.ts";
import { replacing } from "./harness/uploads.ts";

const MiB = 1024 * 1024;
const seen = envWithSource({});
afterEach(() => vi.restoreAllMocks());

const isCopy = ({ body }: Letter): boolean => body.type === "copy";

/** The proof of each key, in the manifest and in the report, which say the same. */
async function proofsOf(run: TestRun): Promise<Record<string, unknown>> {
  const proofs: Record<string, unknown> = {};
  for (const { key, outcome, proof } of await reportLines(run)) {
    expect(outcome, key).toBe("copied");
    expect((await rowAt(run.dataset, key))?.proof, key).toBe(proof);
    proofs[key] = proof;
  }
  return proofs;
}

describe("an object that is met again by another delivery of its message", { timeout: 300_000 }, () => {
  /** What the source says of its objects beside the bytes, where it is asked for checksums. */
  async function vouching(stored: ReadonlyMap<string, Stored>): Promise<void> {
    const said = new Map<string, Record<string, string>>();
    for (const [key, { bytes }] of stored) {
      if (key.startsWith("sha256")) said.set(key, { "x-amz-checksum-sha256": toBase64(await sha256Of(bytes)) });
      if (key.startsWith("crc64nvme")) said.set(key, { "x-amz-checksum-crc64nvme": await crc64Of(bytes) });
    }
    intercept(({ path, headers }, pass) => {
      const checksum = said.get(path.split("/").at(-1) ?? "");
      const isAsked = headers.get("x-amz-checksum-mode") === "ENABLED";
      return checksum === undefined || !isAsked ? pass() : withHeaders(pass(), checksum);
    });
  }

  const OBJECTS = new Map([
    ["crc64nvme", bytesOf(3000, 1)],
    ["crc64nvme-streamed", bytesOf(1.5 * MiB, 2)],
    ["md5", bytesOf(3000, 3)],
    ["md5-streamed", bytesOf(1.5 * MiB, 4)],
    ["sha256", bytesOf(3000, 5)],
    ["sha256-streamed", bytesOf(1.5 * MiB, 6)],
  ]);
  const PROOFS = Object.fromEntries([...OBJECTS.keys()].map((key) => [key, key.replace("-streamed", "")]));

  it("of this run keeps the proof that it was put with", async () => {
    const stored = await fill("proven/", OBJECTS);
    await vouching(stored);
    await registerDataset("proven", "proven/");
    const run = await startRun("proven", seen, { checksums: true });
    const versions = async () => (await env.DATASETS.list({ prefix: "proven/" })).objects.map(({ version }) => version);
    let killed: string[] = [];
    await carry(run, {
      hand: (letter, at) => {
        if (!isCopy(letter) || letter.deliveries > 0) return deliver(letter, at);
        const before = async () => {
          killed = await versions();
          kill();
        };
        return deliver(letter, around(at, "settleBatch", { before }));
      },
    });
    expect(killed).toHaveLength(OBJECTS.size);
    expect(await versions(), "what the first delivery put is there").toEqual(killed);
    expect(await proofsOf(run)).toEqual(PROOFS);
    expect((await statusOf(run)).proofs).toEqual({ sha256: 2, crc64nvme: 2, md5: 2 });
    await expectNothingLeft(run);
  });

  it("that a reader's miss had put, with no word of a checksum, has the proof that it is found with", async () => {
    const stored = await fill("found/", new Map([["sha256", bytesOf(3000, 7)]]));
    await vouching(stored);
    await registerDataset("found", "found/");
    await reconfigure("found", { read: "through" });
    const run = await startRun("found", seen, { checksums: true });
    await carry(run, {
      hand: async (letter, at) => {
        if (isCopy(letter)) await deliverMiss(missOf("found", "sha256", stored.get("sha256") as Stored), seen);
        return deliver(letter, at);
      },
    });
    expect(await proofsOf(run)).toEqual({ sha256: "md5" });
    expect((await rowAt("found", "sha256"))?.writer).toBe("through:ds_found");
  });
});

describe("an older state of our own copy, which another delivery of its message finds", { timeout: 300_000 }, () => {
  const WAS = text("as it was listed");
  const IS = text("as it is now, and longer");
  const now = (name: string) => fill(`${name}/`, new Map([["x", IS]]));
  const inR2 = async (name: string) => (await env.DATASETS.get(`${name}/x`))?.text();

  async function start(name: string): Promise<{ run: TestRun; was: Map<string, Stored> }> {
    const was = await fill(`${name}/`, new Map([["x", WAS]]));
    await registerDataset(name, `${name}/`);
    return { run: await startRun(name, seen), was };
  }

  it("is written over while nobody has settled the message", async () => {
    const { run } = await start("open-message");
    let is = new Map<string, Stored>();
    await carry(run, {
      hand: (letter, at) => {
        if (!isCopy(letter) || letter.deliveries > 0) return deliver(letter, at);
        const before = async () => {
          expect(await inR2("open-message")).toBe("as it was listed");
          is = await now("open-message");
          kill();
        };
        return deliver(letter, around(at, "settleBatch", { before }));
      },
    });
    await expectExact(run, is);
  });

  it("stays where the first delivery has settled it: what the run has said is there", async () => {
    const name = "settled-message";
    const { run, was } = await start(name);
    const [isSettled, settled] = gate();
    const [isAtPut, atPut] = gate();
    const seconds: Promise<unknown>[] = [];
    await carry(run, {
      hand: async (letter, at) => {
        if (!isCopy(letter) || seconds.length > 0) return deliver(letter, at);
        // The second begins while the message is open, reads what the source has now, and is slow to put it.
        const put = async (...args: Parameters<R2Bucket["put"]>) => {
          isAtPut();
          await settled;
          return env.DATASETS.put(...args);
        };
        const late = { ...at, DATASETS: replacing(env.DATASETS, { put: put as R2Bucket["put"] }) };
        const before = async () => {
          await now(name);
          seconds.push(deliver({ ...letter }, late));
          await atPut;
        };
        const first = await deliver(letter, around(at, "settleBatch", { before, after: isSettled }));
        await Promise.all(seconds);
        return first;
      },
    });
    expect(await Promise.all(seconds)).toEqual(["ack"]);
    expect(await inR2(name)).toBe("as it was listed");
    await expectExact(run, was);
  });
});

/** A promise, and what resolves it. */
function gate(): [open: () => void, opened: Promise<void>] {
  const { promise, resolve } = Promise.withResolvers<void>();
  return [resolve, promise];
}

const toBase64 = (hex: string): string => Uint8Array.fromHex(hex).toBase64();
