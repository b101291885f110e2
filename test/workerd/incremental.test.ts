import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { MESSAGES_IN_FLIGHT_MAX } from "../../workers/core/limits.ts";
import { type CopyItem, sentItem } from "../../workers/core/migration/message.ts";
import { bury, carry, deliver } from "./harness/delivery.ts";
import { expectExact } from "./harness/expect-exact.ts";
import { registerDataset, startRun, statusOf } from "./harness/run.ts";
import { bytesOf, envWith, fill, PART_BYTES, sixtyAndTwo, text } from "./harness/source.ts";
import { notingUploads, stillOpen } from "./harness/uploads.ts";

describe("a second run", { timeout: 300_000 }, () => {
  it("copies nothing where nothing changed, then only what was changed or added", async () => {
    const { objects, multipart } = sixtyAndTwo();
    const source = await fill("again/", objects, { multipart });
    await registerDataset("again", "again/");
    const seen = envWith("pages-of-20");
    await carry(await startRun("again", seen));

    const second = await startRun("again", seen);
    await carry(second);
    const unchanged = await expectExact(second, source);
    expect(unchanged.copied).toEqual({ objects: 0, bytes: 0 });
    expect(unchanged.skipped.objects).toBe(62);
    expect(unchanged.operations.sourceGet, "an unchanged key costs no request of its own").toBe(0);

    const changes = new Map([
      ["c/3/3", text("changed")],
      ["added/new", text("new")],
      ["uploaded-whole.bin", bytesOf(PART_BYTES + 99, 77)],
    ]);
    for (const [key, stored] of await fill("again/", changes)) source.set(key, stored);
    const third = await startRun("again", seen);
    await carry(third);
    const { copied, skipped } = await expectExact(third, source);
    expect({ copied: copied.objects, skipped: skipped.objects }).toEqual({ copied: 3, skipped: 60 });
  });

  it("finds what is there without a row of the manifest, and writes the row", async () => {
    const source = await fill(
      "found/",
      new Map([
        ["a", text("a")],
        ["b", text("b")],
      ]),
    );
    await env.DATASETS.put("found/a", text("a"), { httpMetadata: { contentType: "application/x-test" } });
    await registerDataset("found", "found/");
    const run = await startRun("found", envWith("plain"));
    await carry(run);
    const { copied, skipped } = await expectExact(run, source);
    expect({ copied: copied.objects, skipped: skipped.objects }).toEqual({ copied: 1, skipped: 1 });
  });

  it("is refused while the first one runs", async () => {
    await fill("one/", new Map([["a", text("a")]]));
    await registerDataset("one", "one/");
    await startRun("one", envWith("plain"));
    await expect(startRun("one", envWith("plain"))).rejects.toThrow("migration-running");
  });
});

describe("what changes between listing and copying", { timeout: 300_000 }, () => {
  it.each([
    ["small", 100, 4000],
    ["large", PART_BYTES + 1, PART_BYTES + 4000],
  ])("at the source: a %s object is copied and counted as it is now", async (name, before, after) => {
    const dataset = `changing-${name}`;
    const source = await fill(
      `${dataset}/`,
      new Map([
        ["x", bytesOf(before, 1)],
        ["y", text("y")],
      ]),
    );
    await registerDataset(dataset, `${dataset}/`);
    const run = await startRun(dataset, envWith("plain"));
    await carry(run, {
      hand: async (letter, seen) => {
        const answer = await deliver(letter, seen);
        if (letter.body.type !== "list") return answer;
        for (const [key, stored] of await fill(`${dataset}/`, new Map([["x", bytesOf(after, 2)]])))
          source.set(key, stored);
        return answer;
      },
    });
    await expectExact(run, source);
  });

  it.each([
    ["put", null],
    ["overwrite", text("an older object of a stranger's")],
  ])("in R2: a stranger's %s stays, and is a destination-changed", async (name, was) => {
    const dataset = `stranger-${name}`;
    const objects = new Map([
      ["small", text("ours")],
      ["large", bytesOf(PART_BYTES + 1, 3)],
      ["other", text("other")],
    ]);
    const source = await fill(`${dataset}/`, objects);
    if (was !== null) for (const key of ["small", "large"]) await env.DATASETS.put(`${dataset}/${key}`, was);
    const { bucket, created } = notingUploads();
    await registerDataset(dataset, `${dataset}/`);
    const run = await startRun(dataset, envWith("plain", { DATASETS: bucket }));
    await carry(run, {
      hand: async (letter, seen) => {
        const answer = await deliver(letter, seen);
        if (letter.body.type === "list") {
          for (const key of ["small", "large"]) await env.DATASETS.put(`${dataset}/${key}`, "a stranger's");
        }
        return answer;
      },
    });
    const { state, failures, listed, copied } = await statusOf(run);
    expect(failures.map(({ key, code }) => [key, code])).toEqual([
      ["large", "destination-changed"],
      ["small", "destination-changed"],
    ]);
    expect({ state, listed: listed.objects, copied: copied.objects }).toEqual({ state: "done", listed: 3, copied: 1 });
    for (const key of ["small", "large"]) {
      expect(await (await env.DATASETS.get(`${dataset}/${key}`))?.text()).toBe("a stranger's");
    }
    expect(source.size).toBe(3);
    expect(await stillOpen(created)).toEqual([]);
  });
});

describe("a listing that waits for the copying", () => {
  it("goes on when the batches that held it back have ended", async () => {
    await fill("held/", new Map([["z", text("z")]]));
    await registerDataset("held", "held/");
    const run = await startRun("held", envWith("plain"));
    const stub = migrationOf(env, run.id);
    // As many batches as there may be under way, each a message of its own by its bytes.
    const items = Array.from({ length: MESSAGES_IN_FLIGHT_MAX + 1 }, (_, i): CopyItem => {
      return { key: `k${String(i).padStart(4, "0")}`, size: 1024 ** 3, etag: "e", lastModified: 0, was: null };
    });
    const rows = () =>
      runInDurableObject(stub, (_, { storage }) =>
        storage.sql
          .exec<{ seq: number; due: number | null; type: string }>(
            "SELECT seq, due_at AS due, type FROM outbox ORDER BY seq",
          )
          .toArray(),
      );
    const [list] = await rows();
    const page = {
      after: null,
      upTo: "k9999",
      rest: { after: "k9999", end: null },
      cuts: [],
      skipped: { objects: 0, bytes: 0 },
      proofs: {},
      found: [],
      small: items,
      large: [],
      largeParts: 0,
      failures: [],
      extraneous: [],
      hazards: {},
      report: null,
    };
    const next = await stub.recordPage(list?.seq ?? 0, page, {}, true);
    expect(next, "its consumer goes on with nothing").toBe(null);
    const held = async () => (await rows()).filter(({ type, due }) => type === "list" && due === null).length;
    expect(await held()).toBe(1);
    const batches = (await rows()).filter(({ type }) => type === "copy");
    for (const [i, item] of items.slice(0, 2).entries()) {
      const body = {
        v: 1 as const,
        migration: run.id,
        type: "copy" as const,
        tries: 0,
        items: [sentItem(item)],
        seq: batches[i]?.seq ?? 0,
      };
      await bury({ queue: "migration", body, deliveries: 0 }, run.env);
    }
    expect(await held()).toBe(0);
  });
});
