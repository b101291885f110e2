import { afterEach, describe, expect, it, vi } from "vitest";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { expectManifest, reportOf, takeAway } from "./harness/extraneous.ts";
import { intercept } from "./harness/intercept.ts";
import { cutListing, registerDataset, startRun, statusOf } from "./harness/run.ts";
import { envWithSource, fill, text } from "./harness/source.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

afterEach(() => vi.restoreAllMocks());

/** One page may ask for so many keys one by one, with two requests each. */
const ASKED_MAX = 500;
/** More than that have a key that the source spells otherwise, so that only a look at each tells whether it is gone. */
const COUNT = 530;

const spelled = Array.from({ length: COUNT }, (_, i) => `e\u0301/${String(i).padStart(3, "0")}`);
const nfc = (keys: readonly string[]) => keys.map((key) => key.normalize("NFC")).sort();
const isDeleting = ({ body }: Letter) => body.type === "delete";

describe("a page beside which R2 has more keys than can be asked for one by one", { timeout: 300_000 }, () => {
  it("asks for some of them, and each is looked at before it is deleted: what is gone goes, and all else stays", async () => {
    const name = "looked-up";
    await fill(`${name}/`, new Map([...spelled, "z"].map((key) => [key, text(key)])));
    await registerDataset(name, `${name}/`);
    await carry(await startRun(name, envWithSource({})));
    expect(await keysInR2(`${name}/`)).toEqual(["z", ...nfc(spelled)]);
    // Among those that are asked for and those that are not, one each.
    const gone = [spelled[3], spelled[COUNT - 3]] as string[];
    await takeAway(`${name}/`, gone);

    // The source lists them all in the first range; R2 has them in the second, behind "z".
    await cutListing(name, "f");
    const wires = intercept();
    const watched = watchBucket();
    const seen = envWithSource({}, { DATASETS: watched.bucket });
    const run = await startRun(name, seen, { deleteExtraneous: true, maxDelete: COUNT });
    const invocations: { type: string; heads: number; requests: number }[] = [];
    const lookedAt = new Set<string>();
    await carry(run, {
      hand: async (letter, at) => {
        watched.count();
        wires.length = 0;
        const answer = await deliver(letter, at);
        const heads = watched.operations.filter((operation) => operation.name === "head");
        if (isDeleting(letter)) for (const { key } of heads) lookedAt.add(key.slice(name.length + 1));
        const { type } = letter.body as { type: string };
        invocations.push({ type, heads: heads.length, requests: watched.operations.length + wires.length });
        return answer;
      },
    });
    const [first, second] = invocations.filter(({ type }) => type === "list");
    // Of the first range each key is looked up once, for R2 lists it elsewhere; of the second no more than may be.
    expect(first?.heads).toBe(COUNT - gone.length);
    expect([second?.heads, second?.requests]).toEqual([ASKED_MAX, 2 * ASKED_MAX + 1]);
    // Those that nobody asked for, and the one of the others that was gone.
    const doubtful = nfc([...spelled.slice(ASKED_MAX), ...gone.slice(0, 1)]);
    expect([...lookedAt].sort()).toEqual(doubtful);

    const kept = nfc(spelled.filter((key) => !gone.includes(key)));
    expect(await keysInR2(`${name}/`)).toEqual(["z", ...kept]);
    await expectManifest(name, ["z", ...kept]);
    const { state, extraneous } = await statusOf(run);
    expect({ state, ...extraneous }).toEqual({ state: "done", objects: doubtful.length, deleted: gone.length });
    const report = await reportOf(run);
    for (const key of doubtful) {
      const was = nfc(gone).includes(key) ? { outcome: "deleted" } : { outcome: "kept", why: "at-source" };
      expect(report.get(key), key).toMatchObject(was);
    }
    await expectNothingLeft(run);
  });
});
