import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { openPlace, writeRows } from "../../queues/manifest/answer.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { rowOfPut } from "../harness/rows.ts";
import { bytesAtSource, isPut, isWrite, keysAtSource, runBack, same, seen, source, writer } from "./harness/back.ts";
import { carry } from "./harness/delivery.ts";
import { expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { intercept, type Wire } from "./harness/intercept.ts";
import { reportLines, said } from "./harness/report-lines.ts";
import { must, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { bytesOf, fill, PART_BYTES, type Stored, text } from "./harness/source.ts";
import { EVERYTHING } from "../../workers/core/manifest/query.ts";

const MiB = 1024 * 1024;
afterEach(() => vi.restoreAllMocks());

/** A dataset whose source holds these, migrated in. */
async function migrated(dataset: string, objects: ReadonlyMap<string, Uint8Array<ArrayBuffer>>) {
  const stored = await fill(`${dataset}/`, objects);
  await registerDataset(dataset, `${dataset}/`);
  await carry(await startRun(dataset, seen));
  return stored;
}

/** An object of a job's, and the manifest's row of it. */
async function putOutput(dataset: string, key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const put = await env.DATASETS.put(`${dataset}/${key}`, bytes);
  if (put === null) throw new Error("R2 did not take it.");
  const row = rowOfPut(key, put, { writer: "job_01HZX3V7Q8R9S0T1V2W3X4Y5Z6" });
  const id = `ds_${dataset}`;
  must(await writeRows(datasetOf(env, dataset), id, [row], "job", () => openPlace(env, dataset, id)));
}

/** Puts an object into R2 in parts, as a job's checkpoint is. */
async function putParts(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const upload = await env.DATASETS.createMultipartUpload(key);
  const parts: R2UploadedPart[] = [];
  for (let start = 0; start < bytes.length; start += PART_BYTES) {
    parts.push(await upload.uploadPart(parts.length + 1, bytes.subarray(start, start + PART_BYTES)));
  }
  return (await upload.complete(parts)).etag;
}

describe("a run back", { timeout: 300_000 }, () => {
  const ODD = ["a b+c%2F&d=e.json", "schöne/höhe.bin", "日本/語.bin", "😀/'(*)!~.bin", "x//y", "dir/"];
  // The local endpoint refuses to be asked for such a key.
  const REFUSED = "out/a/../b";
  const CUSTOM = { project: "era5", title: "Höhe über NN", "penstock-migration": "mig_of_another_bucket" };
  const outputs = new Map<string, Uint8Array<ArrayBuffer>>();
  let run: TestRun;
  let was: Map<string, Stored>;
  let wires: Wire[];

  beforeAll(async () => {
    was = await migrated(
      "back",
      new Map(["kept", "gone", "written-over", "both"].map((key) => [key, text(`source ${key}`)])),
    );
    // The owner deletes two at the source; one of these, and one that is still there, were written over in R2 since.
    for (const key of ["gone", "written-over"]) must(await writer.delete(`back/${key}`));
    outputs.set("written-over", text("an output at the key of what was copied"));
    await putOutput("back", "written-over", outputs.get("written-over") as Uint8Array<ArrayBuffer>);
    await env.DATASETS.put("back/both", "another in R2");
    for (const [i, key] of ODD.entries()) outputs.set(`out/${key}`, bytesOf(i * 17, i + 1));
    outputs.set("out/empty", new Uint8Array(0));
    outputs.set("out/streamed", bytesOf(1.5 * MiB, 50));
    outputs.set("checkpoint/whole", bytesOf(PART_BYTES + 54_321, 51));
    for (const [key, bytes] of outputs) {
      if (key === "written-over") continue;
      const httpMetadata = { contentType: "application/x-output", cacheControl: "max-age=60", contentLanguage: "de" };
      await env.DATASETS.put(`back/${key}`, bytes, {
        httpMetadata,
        customMetadata: { project: "era5", title: CUSTOM.title },
      });
    }
    await env.DATASETS.put(`back/${REFUSED}`, "no other object is written instead");
    outputs.set("checkpoint/parts", bytesOf(2 * PART_BYTES + 777, 52));
    await putParts("back/checkpoint/parts", outputs.get("checkpoint/parts") as Uint8Array<ArrayBuffer>);
    wires = intercept();
    ({ run } = await runBack("back"));
    vi.restoreAllMocks();
  });

  it("copies what R2 alone has, byte for byte: small, empty, streamed, in parts, and under odd names", async () => {
    const there = await keysAtSource("back/");
    expect(there).toEqual([...outputs.keys(), "kept", "both"].sort());
    for (const [key, bytes] of outputs) expect(same(await bytesAtSource(`back/${key}`), bytes), key).toBe(true);
  });

  it("carries the metadata, and says where the object came from", async () => {
    const { http, custom } = must(await source.head("back/out/empty"));
    expect(http).toEqual({ contentType: "application/x-output", cacheControl: "max-age=60", contentLanguage: "de" });
    expect(custom).toMatchObject({ project: "era5", "penstock-migration": run.id });
    const large = must(await source.head("back/checkpoint/whole"));
    expect([large.http.contentType, large.custom["project"]]).toEqual(["application/x-output", "era5"]);
  });

  it("writes over nothing: what the source has stays, also where R2 has another", async () => {
    for (const key of ["kept", "both"]) {
      const stored = was.get(key) as Stored;
      expect(must(await source.head(`back/${key}`)).etag).toBe(stored.etag);
    }
    const puts = wires.filter(isPut);
    expect(puts.length).toBeGreaterThan(5);
    expect(puts.map(({ headers }) => headers.get("if-none-match"))).toEqual(puts.map(() => "*"));
    expect(wires.filter(isWrite).filter(({ path }) => /\/(kept|both|gone)$/.test(path))).toEqual([]);
  });

  it("does not bring back what the owner deleted at the source, nor takes it away in R2", async () => {
    expect(await keysAtSource("back/gone")).toEqual([]);
    expect(await (await env.DATASETS.get("back/gone"))?.text()).toBe("source gone");
  });

  it("counts it all: objects, bytes, proofs, and the writes at the source", async () => {
    const { state, copied, skipped, failed, listed, proofs, operations, secondsLeft } = await statusOf(run);
    const bytes = [...outputs.values()].reduce((sum, { length }) => sum + length, 0);
    expect({ state, failed: failed.objects, secondsLeft }).toEqual({ state: "done", failed: 1, secondsLeft: 0 });
    expect(copied).toEqual({ objects: outputs.size, bytes });
    expect([skipped.objects, listed.objects]).toEqual([3, outputs.size + 4]);
    // The object that R2 has whole gets a multipart ETag at the source: its parts prove it.
    expect(proofs).toEqual({ md5: outputs.size - 2, etag: 1, parts: 1 });
    expect(wires.filter(isWrite)).toHaveLength(outputs.size - 2 + (1 + 2 + 1) + (1 + 3 + 1));
    expect(operations.sourcePut).toBe(wires.filter(isWrite).length);
    // What is looked at before and after each is asked of the source like anything else.
    expect(operations.sourceGet).toBe(wires.filter(({ method }) => method === "HEAD").length);
    expect(operations.sourceList).toBe(1);
    await expectNothingLeft(run);
  });

  it("says in its report what became of each object", async () => {
    const lines = said(await reportLines(run));
    const others = ["both: kept never", "gone: kept is-source's", "kept: same", `${REFUSED}: failed source-forbidden`];
    expect(lines).toEqual([...[...outputs.keys()].map((key) => `${key}: copied`), ...others].sort());
  });

  it("leaves the manifest alone: it speaks of R2", async () => {
    const { rows } = must(await datasetOf(env, "back").query(EVERYTHING, null, 1000));
    const known = rows.map(({ key, writer: by }) => [key, by.slice(0, 4)]);
    expect(known).toEqual([
      ["both", "mig_"],
      ["gone", "mig_"],
      ["kept", "mig_"],
      ["written-over", "job_"],
    ]);
  });

  it("that follows copies nothing more", async () => {
    wires = intercept();
    const { status } = await runBack("back");
    expect([status.copied.objects, status.skipped.objects, status.failed.objects]).toEqual([0, outputs.size + 3, 1]);
    expect(wires.filter(isWrite)).toEqual([]);
  });

  it("is followed by a run in that finds all of it, but for what has another ETag now", async () => {
    const before = await env.DATASETS.head("back/checkpoint/whole");
    const next = await startRun("back", seen);
    await carry(next);
    const { copied, failed } = await statusOf(next);
    const lines = said(await reportLines(next)).filter((line) => !line.endsWith(": same"));
    // "both" differs, and the run in says that the source's is right. What R2 had whole was cut into parts.
    expect(lines).toEqual(["both: copied", "checkpoint/whole: copied"]);
    expect([copied.objects, failed.objects]).toEqual([2, 0]);
    const after = await env.DATASETS.head("back/checkpoint/whole");
    expect(after?.etag).not.toBe(before?.etag);
    expect((await keysInR2("back/")).length).toBe(outputs.size + 4);
  });
});

describe("a run back is about", { timeout: 300_000 }, () => {
  it("what its filters let through, and no more is asked of R2 than that", async () => {
    await registerDataset("back-filter", "back-filter/");
    for (const key of ["out/a.json", "out/b.tmp", "out/c.json", "other/d.json"]) {
      await env.DATASETS.put(`back-filter/${key}`, `the bytes of ${key}`);
    }
    const run = await startRun("back-filter", seen, { direction: "back", prefix: "out/", exclude: ["**/*.tmp"] });
    await carry(run);
    expect(await keysAtSource("back-filter/")).toEqual(["out/a.json", "out/c.json"]);
  });

  it("the keys that it is given", async () => {
    await registerDataset("back-keys", "back-keys/");
    for (const key of ["a", "b", "c"]) await env.DATASETS.put(`back-keys/${key}`, key);
    const run = await startRun("back-keys", seen, { direction: "back", keys: ["c", "a", "not-there"] });
    await carry(run);
    expect(said(await reportLines(run))).toEqual(["a: copied", "c: copied", "not-there: failed source-object-missing"]);
    expect(await keysAtSource("back-keys/")).toEqual(["a", "c"]);
  });

  it("nothing that a read had copied from the source", async () => {
    await registerDataset("back-through", "back-through/");
    const put = await env.DATASETS.put("back-through/x", "was read");
    if (put === null) throw new Error("R2 did not take it.");
    const copied = { proof: "md5", sourceEtag: put.etag, sourceModifiedAt: 0 } as const;
    const row = rowOfPut("x", put, { ...copied, writer: "through:ds_back-through" });
    must(await datasetOf(env, "back-through").applyRows("ds_back-through", [row]));
    const { run } = await runBack("back-through");
    expect(said(await reportLines(run))).toEqual(["x: kept is-source's"]);
    expect(await keysAtSource("back-through/")).toEqual([]);
  });

  it("what it would copy, where it is a dry run: nothing is written", async () => {
    await registerDataset("back-dry", "back-dry/");
    await env.DATASETS.put("back-dry/small", "x");
    await env.DATASETS.put("back-dry/large", bytesOf(PART_BYTES + 1, 1));
    const wires = intercept();
    const run = await startRun("back-dry", seen, { direction: "back", dryRun: true });
    await carry(run);
    vi.restoreAllMocks();
    expect(wires.filter(isWrite)).toEqual([]);
    expect(said(await reportLines(run))).toEqual(["large: would-copy", "small: would-copy"]);
    const { estimate, operations } = await statusOf(run);
    expect([estimate.objects, estimate.bytes]).toEqual([2, PART_BYTES + 2]);
    expect(operations.sourcePut).toBe(0);
  });
});
