import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { givenRow } from "../harness/rows.ts";
import { runBack, seen } from "./harness/back.ts";
import { carry } from "./harness/delivery.ts";
import { takeAway } from "./harness/extraneous.ts";
import { reportLines, said } from "./harness/report-lines.ts";
import { must, registerDataset, startRun, statusOf } from "./harness/run.ts";
import { fill, text } from "./harness/source.ts";
import { deliverMiss, missOf, reconfigure, rowAt } from "./harness/through.ts";
import { carryWalk } from "./harness/walk.ts";

beforeEach(() => {
  for (const method of ["log", "warn", "error"] as const) vi.spyOn(console, method).mockReturnValue(undefined);
});

/** Registers a dataset and copies `a` and `b` into it. */
async function copied(name: string) {
  const stored = await fill(`${name}/`, new Map(["a", "b"].map((key) => [key, text(`at ${key}`)])));
  await registerDataset(name, `${name}/`);
  await carry(await startRun(name, seen));
  return stored;
}

async function walk(name: string): Promise<void> {
  must(await datasetOf(env, name).beginWalk(false));
  await carryWalk(name);
}

/** Puts an object as a tool does that keeps the metadata of another: a server-side copy, an edit in place. */
async function putWithMetadataOf(from: string, key: string, content: string): Promise<void> {
  const { customMetadata = {} } = (await env.DATASETS.head(from)) ?? {};
  expect(customMetadata["penstock-migration"]).toMatch(/^mig_/);
  await env.DATASETS.put(key, content, { customMetadata });
}

const inR2 = async (key: string) => (await env.DATASETS.get(key))?.text();

describe("an object that a walk found, whatever its metadata say,", { timeout: 120_000 }, () => {
  it("is nobody's copy: it is not deleted as extraneous", async () => {
    await copied("spared");
    await putWithMetadataOf("spared/a", "spared/backup/a", "at a");
    await walk("spared");
    expect(await rowAt("spared", "backup/a")).toMatchObject({ writer: "found:reconcile", sourceEtag: null });
    await takeAway("spared/", ["b"]);
    const run = await startRun("spared", seen, { deleteExtraneous: true, maxDelete: 100 });
    await carry(run);
    expect((await statusOf(run)).state).toBe("done");
    expect([await inR2("spared/backup/a"), await inR2("spared/b")]).toEqual(["at a", undefined]);
  });

  it("is not taken for what the source has: a migration mends what was edited in place", async () => {
    await copied("edited");
    await putWithMetadataOf("edited/a", "edited/a", "ab A");
    await walk("edited");
    await carry(await startRun("edited", seen));
    expect(await inR2("edited/a")).toBe("at a");
  });

  it("is copied back where it says of no source, and stays where it says of one that has it no more", async () => {
    await copied("back-found");
    await env.DATASETS.put("back-found/result", "by a tool");
    // As if the manifest were younger than what R2 has.
    const questions = must(
      await datasetOf(env, "back-found").hint("ds_back-found", [{ key: "b", etag: null }]),
    ).questions;
    must(
      await datasetOf(env, "back-found").answerRows(
        "ds_back-found",
        questions.map((question) => ({ ...question, row: null })),
      ),
    );
    await takeAway("back-found/", ["b"]);
    await walk("back-found");
    expect((await rowAt("back-found", "b"))?.writer).toBe("found:reconcile");
    const { run } = await runBack("back-found");
    expect(said(await reportLines(run))).toEqual(["a: same", "b: kept is-source's", "result: copied"]);
  });

  it("gives its row the metadata that it has now, also none, though its bytes are the same", async () => {
    await registerDataset("recoded", "nothing/");
    const put = await env.DATASETS.put("recoded/a", "{}", { httpMetadata: { contentType: "application/json" } });
    const before = { contentType: "text/plain", contentEncoding: "gzip", proof: "md5" as const };
    const uploadedAt = put.uploaded.getTime() - 1;
    must(
      await datasetOf(env, "recoded").applyRows("ds_recoded", [
        givenRow("a", { size: 2, etag: put.etag, uploadedAt, ...before }),
      ]),
    );
    await walk("recoded");
    const after = { contentType: "application/json", contentEncoding: null, proof: "md5", writer: "mig_01" };
    expect(await rowAt("recoded", "a")).toMatchObject({ ...after, uploadedAt: uploadedAt + 1 });
  });
});

describe("an object that was deleted in R2 by somebody else", { timeout: 120_000 }, () => {
  it("is brought back by the next migration", async () => {
    await copied("lost");
    await env.DATASETS.delete("lost/a");
    await walk("lost");
    expect(await rowAt("lost", "a")).toBeUndefined();
    const run = await startRun("lost", seen);
    await carry(run);
    expect((await statusOf(run)).state).toBe("done");
    expect([await inR2("lost/a"), (await rowAt("lost", "a"))?.proof]).toEqual(["at a", "md5"]);
  });

  it("is brought back by a read through", async () => {
    const stored = await copied("lost-read");
    await reconfigure("lost-read", { read: "through" });
    await env.DATASETS.delete("lost-read/a");
    await walk("lost-read");
    expect(must(await datasetOf(env, "lost-read").readerView()).hasTombstones).toBe(false);
    const a = stored.get("a");
    if (a === undefined) throw new Error("The source has it.");
    expect(await deliverMiss(missOf("lost-read", "a", a), seen)).toBe("ack");
    expect([await inR2("lost-read/a"), (await rowAt("lost-read", "a"))?.writer]).toEqual([
      "at a",
      "through:ds_lost-read",
    ]);
  });
});

describe("an object that we have deleted on purpose", { timeout: 120_000 }, () => {
  it("stays away, though R2 may have told before us that it is gone", async () => {
    await copied("purposely");
    await takeAway("purposely/", ["a"]);
    const dataset = datasetOf(env, "purposely");
    await carry(await startRun("purposely", seen, { deleteExtraneous: true, maxDelete: 1 }));
    expect([await inR2("purposely/a"), await dataset.isBuried("a")]).toEqual([undefined, true]);
    const answer = async (isOnPurpose: boolean) => {
      const { questions } = must(await dataset.hint("ds_purposely", [{ key: "c", etag: null }]));
      const answers = questions.map((question) => ({ ...question, row: null }));
      must(await dataset.answerRows("ds_purposely", answers, { isOnPurpose }));
      return dataset.isBuried("c");
    };
    expect([await answer(false), await answer(true), await answer(false)]).toEqual([false, true, true]);
  });
});
