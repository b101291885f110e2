import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { carry, deliver } from "./harness/delivery.ts";
import { expectExact, expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { expectManifest } from "./harness/extraneous.ts";
import { intercept, refusal } from "./harness/intercept.ts";
import { around } from "./harness/interrupted.ts";
import { unsettled } from "./harness/outbox.ts";
import { reportLines, said } from "./harness/report-lines.ts";
import { must, passTime, registerDataset, SILENCE_SECONDS, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { bytesOf, envWithSource, fill, PART_BYTES } from "./harness/source.ts";
import { notingUploads, stillOpen } from "./harness/uploads.ts";

afterEach(() => vi.restoreAllMocks());

describe("what a consumer has copied whose message another has settled", { timeout: 300_000 }, () => {
  const MEANWHILE: [when: string, name: string, happens: (run: TestRun) => Promise<unknown>][] = [
    ["while the run goes on", "second-going-on", async () => undefined],
    ["after the run was cancelled", "second-cancelled", async ({ id }) => must(await migrationOf(env, id).cancel())],
    ["after the run is done", "second-done", (run) => carry(run)],
  ];

  it.each(MEANWHILE)("is in the manifest, and counted once: %s", async (_, name, meanwhile) => {
    await fill(`${name}/`, new Map(["a", "b", "c"].map((key, i) => [key, bytesOf(100, i)])));
    let isLost = false;
    intercept(({ method, path }, pass) =>
      isLost && method === "GET" && path === `/${name}/b` ? refusal(404, "NoSuchKey") : pass(),
    );
    await registerDataset(name, `${name}/`);
    const run = await startRun(name, envWithSource({}));
    let settled = 0;
    await carry(run, {
      hand: (letter, seen) => {
        if (letter.body.type !== "copy") return deliver(letter, seen);
        // The first has copied all three. The second, which settles the message, is told that one of them is gone.
        const before = async () => {
          if (settled++ > 0) return;
          isLost = true;
          expect(await deliver({ ...letter }, run.env)).toBe("ack");
          isLost = false;
          await meanwhile(run);
        };
        return deliver(letter, around(seen, "settleBatch", { before }));
      },
    });
    expect(settled).toBe(1);
    expect(await keysInR2(run.prefix)).toEqual(["a", "b", "c"]);
    await expectManifest(name, ["a", "b", "c"]);
    const { listed, copied, failed, proofs } = await statusOf(run);
    expect({ listed: listed.objects, copied: copied.objects, failed: failed.objects, proofs }).toEqual({
      ...{ listed: 3, copied: 2, failed: 1 },
      proofs: { md5: 2 },
    });
    expect(said(await reportLines(run))).toEqual(["a: copied", "b: failed source-object-missing", "c: copied"]);
    await expectNothingLeft(run);
  });
});

describe("parts that a dead consumer holds", { timeout: 300_000 }, () => {
  /** A claim is good for three quarters of the silence. */
  const CLAIM_SECONDS = 0.75 * SILENCE_SECONDS;

  const claimsOf = (run: TestRun) =>
    runInDurableObject(migrationOf(env, run.id), (_, { storage }) =>
      storage.sql
        .exec<{ number: number; until: number }>(
          "SELECT number, claimed_until AS until FROM part WHERE etag IS NULL ORDER BY number",
        )
        .toArray(),
    );

  const isHeld = async (run: TestRun) => (await claimsOf(run)).some(({ until }) => until > Date.now());

  it("are sent by the next one, as soon as its claims have run out", async () => {
    const source = await fill("held-parts/", new Map([["large", bytesOf(2 * PART_BYTES + 1, 7)]]));
    const { bucket, created } = notingUploads();
    await registerDataset("held-parts", "held-parts/");
    const run = await startRun("held-parts", envWithSource({}, { DATASETS: bucket }));
    let claimed = 0;
    let deliveries = 0;
    let waits = 0;
    await carry(run, {
      hand: async (letter, seen) => {
        if (letter.body.type === "part") {
          // The first has claimed all parts, and is killed. The queue delivers the message again, at once.
          if (deliveries++ === 0)
            claimed = (await migrationOf(env, run.id).claimParts(letter.body))?.claims.length ?? 0;
          expect(await isHeld(run)).toBe(deliveries === 1);
        }
        return deliver(letter, seen);
      },
      wait: async () => {
        waits += 1;
        expect({ claimed, deliveries }).toEqual({ claimed: 3, deliveries: 1 });
        const claims = await claimsOf(run);
        expect(claims.map(({ number }) => number)).toEqual([1, 2, 3]);
        const [message, ...others] = await unsettled(run);
        expect(others).toEqual([]);
        expect(message).toMatchObject({ type: "part", dueAt: Math.min(...claims.map(({ until }) => until)) });
        await passTime(run, CLAIM_SECONDS);
      },
    });
    expect(waits, "when the claims had run out it was sent").toBe(1);
    expect(deliveries).toBe(2);
    await expectExact(run, source);
    expect(created).toHaveLength(1);
    expect(await stillOpen(created)).toEqual([]);
  });
});
