import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { bury, carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectExact, expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { cutListing, must, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { envWith, fill, sixtyAndTwo, type Stored } from "./harness/source.ts";
import { notingUploads, stillOpen, type Upload } from "./harness/uploads.ts";

const LARGE = ["uploaded-in-parts.bin", "uploaded-whole.bin"];

let source: Map<string, Stored>;
beforeAll(async () => {
  const { objects, multipart } = sixtyAndTwo();
  source = await fill("dead/", objects, { multipart });
});

async function start(name: string, cut?: string): Promise<{ run: TestRun; created: Upload[] }> {
  const { bucket, created } = notingUploads();
  await registerDataset(name, "dead/");
  if (cut !== undefined) await cutListing(name, cut);
  return { run: await startRun(name, envWith("pages-of-20", { DATASETS: bucket })), created };
}

/** Delivers but what the queue gives up. */
const givingUp = (isGivenUp: (letter: Letter) => boolean) => (letter: Letter, seen: Env) =>
  isGivenUp(letter) ? bury(letter, seen) : deliver(letter, seen);

/** What the source holds, parted by whether the key is one of these. */
function part(keys: readonly string[]): { there: Map<string, Stored>; lost: Map<string, Stored> } {
  const there = new Map([...source].filter(([key]) => !keys.includes(key)));
  return { there, lost: new Map([...source].filter(([key]) => keys.includes(key))) };
}

describe("what the queue gives up becomes failures with the keys named, and the run ends", { timeout: 300_000 }, () => {
  it("copy: the keys of the batch", async () => {
    const { run } = await start("dead-copy");
    let keys: string[] = [];
    await carry(run, {
      hand: givingUp(({ body }) => {
        if (body.type !== "copy" || keys.length > 0) return false;
        keys = body.items.map(([key]) => key);
        return true;
      }),
    });
    const { there, lost } = part(keys);
    const { failures } = await expectExact(run, there, lost);
    expect(failures).toHaveLength(20);
    expect(failures[0]).toMatchObject({ code: "dead-letter", detail: "The copy message was given up by the queue." });
  });

  it.each(["upload", "part", "finish"] as const)("%s: the object, whose upload is aborted", async (type) => {
    const { run, created } = await start(`dead-${type}`);
    await carry(run, { hand: givingUp(({ body }) => body.type === type) });
    const { there, lost } = part(LARGE);
    const { failures } = await expectExact(run, there, lost);
    expect(failures.map(({ code }) => code)).toEqual(["dead-letter", "dead-letter"]);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("abort: nothing more, R2 aborts by itself after seven days", async () => {
    const { run, created } = await start("dead-abort");
    await carry(run, { hand: givingUp(({ body }) => body.type === "part" || body.type === "abort") });
    const { there, lost } = part(LARGE);
    await expectExact(run, there, lost);
    expect(await stillOpen(created)).toHaveLength(2);
  });

  it("rows: the objects, which are copied and not in the manifest", async () => {
    const { run } = await start("dead-rows");
    await carry(run, { hand: givingUp(({ queue }) => queue === "manifest") });
    const { state, failures, copied } = await statusOf(run);
    // "done" says that every row is in the manifest: so this run is not.
    expect({ state, objects: copied.objects }).toEqual({ state: "failed", objects: source.size });
    expect(failures.map(({ key }) => key).sort()).toEqual([...source.keys()].sort());
    expect((await keysInR2(run.prefix)).sort()).toEqual([...source.keys()].sort());
    expect(must(await datasetOf(env, run.dataset).describe()).summary.objects).toBe(0);
    await expectNothingLeft(run);
  });

  it("list: the whole run, which has failed, since its listing cannot be complete", async () => {
    const { run, created } = await start("dead-list", "t");
    await carry(run, { hand: givingUp(({ body }) => body.type === "list" && body.after === "t") });
    const { state, problem, listed } = await statusOf(run);
    expect({ state, complete: listed.complete }).toEqual({ state: "failed", complete: false });
    expect(problem).toEqual({ code: "dead-letter", detail: "The list message was given up by the queue." });
    await expectNothingLeft(run);
    expect(await stillOpen(created)).toEqual([]);
  });

  it("nothing, when the work was settled by another delivery meanwhile", async () => {
    const { run, created } = await start("dead-late");
    await carry(run, {
      hand: async (letter, seen) => {
        const answer = await deliver(letter, seen);
        await bury(letter, seen);
        return answer;
      },
    });
    await expectExact(run, source);
    expect(await stillOpen(created)).toEqual([]);
  });

  it.each([
    ["reconcile", { walk: "walk_1", step: 3 }, { walk: "walk_1", step: 3 }],
    ["shard-index", { key: "a/index.json", tries: 0 }, { key: "a/index.json" }],
    ["records", { key: "a.jsonl", etag: "e", as: null, from: 0 }, { key: "a.jsonl" }],
  ])("%s: a line of the log that names dataset and key", async (type, body, named) => {
    const errors = vi.spyOn(console, "error").mockReturnValue(undefined);
    const letter = { v: 1, type, dataset: "dead", datasetId: "ds_dead", ...body };
    expect(await bury({ queue: "manifest", body: letter, deliveries: 0 }, env)).toBe("ack");
    const lines = errors.mock.calls.map(([line]) => JSON.parse(String(line)) as object);
    errors.mockRestore();
    expect(lines).toEqual([{ message: `${type} given up`, code: "dead-letter", dataset: "dead", ...named }]);
  });

  it("nothing, when it is not a message of ours", async () => {
    const { run } = await start("dead-nonsense");
    const nonsense = { queue: "migration", body: { v: 9, type: "copy" }, deliveries: 0 };
    expect(await bury(nonsense, run.env)).toBe("ack");
    expect(await deliver(nonsense, run.env)).toBe("ack");
    await carry(run);
    await expectExact(run, source);
  });
});
