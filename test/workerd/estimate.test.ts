import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf, migrationOf } from "../../workers/adapters/objects.ts";
import { runFolder } from "../../workers/core/migration/request.ts";
import type { MigrationStatus } from "../../workers/core/migration/status.ts";
import { carry } from "./harness/delivery.ts";
import { expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { type ListedAs, listedAs } from "./harness/listed-as.ts";
import { reportLines, reportNames, said } from "./harness/report-lines.ts";
import { innerState, must, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { envWith, envWithSource, fill, PART_BYTES, sixtyAndTwo, type Stored, text } from "./harness/source.ts";
import { notingUploads } from "./harness/uploads.ts";

const seen = envWithSource({});
afterEach(() => vi.restoreAllMocks());

const manifestOf = async (dataset: string) => must(await datasetOf(env, dataset).describe());

/** Everything in R2 under a dataset's prefix, and the versions of it. */
async function inR2(dataset: string): Promise<(string | number)[][]> {
  const { objects } = await env.DATASETS.list({ prefix: `${dataset}/` });
  return objects.map(({ key, version }) => [key, version]);
}

async function tables(run: TestRun, ...names: string[]): Promise<number[]> {
  return runInDurableObject(migrationOf(env, run.id), (_, { storage }) =>
    names.map((name) => storage.sql.exec<{ n: number }>(`SELECT count(*) AS n FROM ${name}`).one().n),
  );
}

describe("a dry run", { timeout: 300_000 }, () => {
  let source: Map<string, Stored>;
  let dry: { run: TestRun; status: MigrationStatus };
  let before: { r2: unknown; manifest: unknown };
  let uploads: number;

  beforeAll(async () => {
    const { objects, multipart } = sixtyAndTwo();
    source = await fill("dry/", objects, { multipart });
    await registerDataset("dry", "dry/");
    // Some are there, of which one is another, and one is a stranger's that the source has not.
    const [[first, same] = ["", text("")], [second] = [""]] = [...objects].slice(10, 12);
    await env.DATASETS.put(`dry/${first}`, same);
    await env.DATASETS.put(`dry/${second}`, "another");
    await env.DATASETS.put("dry/zz-stranger", "a stranger's");
    before = { r2: await inR2("dry"), manifest: await manifestOf("dry") };
    const { bucket, created } = notingUploads();
    const run = await startRun("dry", envWith("pages-of-20", { DATASETS: bucket }), { dryRun: true });
    await carry(run, { arrange: (letters) => [...letters, ...letters].reverse() });
    dry = { run, status: await statusOf(run) };
    uploads = created.length;
  }, 300_000);

  it("writes nothing: no object, no row, no upload, no lock; its report alone", async () => {
    expect(await inR2("dry")).toEqual(before.r2);
    expect(await manifestOf("dry")).toEqual(before.manifest);
    expect(uploads).toBe(0);
    expect(await tables(dry.run, "upload", "batch", "part", "outbox")).toEqual([0, 0, 0, 0]);
    const { objects } = await env.SYSTEM.list({ prefix: runFolder(dry.run.id) });
    expect(objects.map(({ key }) => key).sort()).toEqual(
      (await reportNames(dry.run)).map((name) => runFolder(dry.run.id) + name),
    );
    await expectNothingLeft(dry.run);
  });

  it("copies nothing, and has nothing left to do", () => {
    const { state, task, copied, failed, listed, skipped, secondsLeft, proofs } = dry.status;
    expect([state, task, secondsLeft, proofs]).toEqual(["done", "estimate", 0, {}]);
    expect([copied, failed]).toEqual([{ objects: 0, bytes: 0 }, { objects: 0 }]);
    expect([listed.objects, listed.complete, skipped.objects]).toEqual([62, true, 1]);
  });

  it("says of each object what would become of it", async () => {
    const lines = await reportLines(dry.run);
    expect(lines.map(({ key }) => key).sort()).toEqual([...source.keys()].sort());
    expect(lines.filter(({ outcome }) => outcome === "would-copy")).toHaveLength(61);
    expect(lines.filter(({ outcome }) => outcome === "same")).toHaveLength(1);
    for (const { key, size, etag } of lines) {
      expect([size, etag]).toEqual([source.get(key)?.bytes.length, source.get(key)?.etag]);
    }
  });

  it("runs beside a migration, which has the lock, and after it finds nothing to copy", async () => {
    const real = await startRun("dry", envWith("pages-of-20"));
    const beside = await startRun("dry", envWith("pages-of-20"), { dryRun: true });
    expect((await manifestOf("dry")).migration).toBe(real.id);
    await carry(beside);
    expect((await manifestOf("dry")).migration).toBe(real.id);
    await carry(real);
    const status = await statusOf(real);
    const { estimate } = dry.status;
    expect(status.copied).toEqual({ objects: estimate.objects, bytes: estimate.bytes });
    expect(status.estimate.objects, "also where the real run's own").toBe(estimate.objects);

    // What the real run was counted doing, beside what the dry run said it would.
    const { operations } = status;
    const { requests } = estimate;
    expect(operations.sourceGet).toBe(requests.sourceGet);
    // A listing that is walked in ranges asks for folders, and for a page or two that end nothing.
    expect(operations.sourceList).toBeGreaterThanOrEqual(requests.sourceList);
    expect(operations.sourceList).toBeLessThanOrEqual(requests.sourceList + 12);
    // Of R2: one look at what is written over.
    expect(operations.classB - requests.classB).toBe(1);
    expect(Math.abs(operations.classA - requests.classA)).toBeLessThanOrEqual(12);
    // A page of twenty has a message of copies and one of rows, where the estimate has 500 objects to a message; the rows of
    // each large object travel alone, and so does what ends the report.
    const { pages, large } = { pages: requests.sourceList, large: 2 };
    expect(operations.queue).toBeGreaterThanOrEqual(requests.queue);
    expect(operations.queue).toBeLessThanOrEqual(requests.queue + 3 * (2 * pages + large + 1));

    const after = await startRun("dry", envWith("pages-of-20"), { dryRun: true });
    await carry(after);
    const none = await statusOf(after);
    expect([none.estimate.objects, none.estimate.bytes, none.skipped.objects]).toEqual([0, 0, 62]);
    expect(said(await reportLines(after)).every((line) => line.endsWith(": same"))).toBe(true);
  });

  it("of a page that is full says what a run is then counted to have done", async () => {
    await registerDataset("dry-exact", "dry/");
    const first = await startRun("dry-exact", seen, { dryRun: true });
    await carry(first);
    const { requests, objects, bytes } = (await statusOf(first)).estimate;
    const real = await startRun("dry-exact", seen);
    await carry(real);
    const { operations, copied } = await statusOf(real);
    expect(copied).toEqual({ objects, bytes });
    const { sourceList, sourceGet, classA, classB } = operations;
    const { queue, sourcePut, ...counted } = requests;
    expect(sourcePut).toBe(0);
    expect({ sourceList, sourceGet, classA, classB }).toEqual(counted);
    // A message of rows for each large object, and the one that ends the report.
    expect(operations.queue).toBe(queue + 3 * (2 + 1));
  });

  it("asks the source for listings, and for a look at five objects of each page", () => {
    const { sourceGet, sourceList, classB, sourcePut } = dry.status.operations;
    expect(sourceList).toBeGreaterThanOrEqual(4);
    expect([sourceGet > 0, sourceGet <= 5 * sourceList * 2, classB, sourcePut]).toEqual([true, true, 0, 0]);
  });

  it("adds its dollars up, each kind by its price", () => {
    const { dollars, requests, bytes } = dry.status.estimate;
    const { total, ...kinds } = dollars;
    expect(total).toBeCloseTo(
      Object.values(kinds).reduce((sum, cost) => sum + cost, 0),
      12,
    );
    expect(kinds.sourceEgress).toBeCloseTo((bytes / 1e9) * 0.09, 12);
    expect(kinds.sourceRequests).toBeCloseTo(requests.sourceGet * 0.0000004 + requests.sourceList * 0.000005, 12);
    // R2 rounds up to a million, and to a gigabyte-month.
    expect([kinds.r2ClassA, kinds.r2ClassB, kinds.storageMonth]).toEqual([4.5, 0.36, 0.015]);
    expect(kinds.queue).toBeCloseTo((requests.queue / 1e6) * 0.4, 12);
  });

  it("may be limited like any other run, and may be cancelled", async () => {
    await registerDataset("dry-keys", "dry/");
    const run = await startRun("dry-keys", seen, { dryRun: true, keys: ["empty", "not-there", "uploaded-whole.bin"] });
    await carry(run);
    expect(said(await reportLines(run))).toEqual([
      "empty: would-copy",
      "not-there: failed source-object-missing",
      "uploaded-whole.bin: would-copy",
    ]);
    expect((await statusOf(run)).estimate).toMatchObject({ objects: 2, bytes: PART_BYTES + 54_321 });
    const cancelled = await startRun("dry-keys", seen, { dryRun: true });
    must(await migrationOf(env, cancelled.id).cancel());
    await carry(cancelled);
    expect((await statusOf(cancelled)).state).toBe("cancelled");
    expect((await innerState(cancelled)).outbox).toBe(0);
    expect(await keysInR2("dry-keys/")).toEqual([]);
  });
});

describe("the hazards of a source", { timeout: 300_000 }, () => {
  const LONG = "l".repeat(1010);
  const NFD = "scho\u0308n";
  const objects = new Map<string, Uint8Array<ArrayBuffer>>([
    ["a-encoded", text("encoded")],
    ["a-metadata", text("metadata")],
    ["archived", text("archived")],
    ["control\u0001", text("control")],
    ["huge", text("huge")],
    ["multipart", text("multipart")],
    ["x//y", text("slashes")],
    [NFD, text("decomposed")],
    [NFD.normalize("NFC"), text("composed")],
    ["u\u0308ber", text("alone")],
    [LONG, text("long")],
    ["plain", text("plain")],
  ]);
  const AS = new Map<string, ListedAs>([
    ["archived", { StorageClass: "DEEP_ARCHIVE" }],
    ["huge", { Size: String(5 * 1024 ** 4) }],
    // Three parts of between 33 and 50 MiB, as no tool cuts them.
    ["multipart", { ETag: "&quot;0123456789abcdef0123456789abcdef-3&quot;", Size: "104000000" }],
    // The local endpoint does not store such a key.
    ["plain", { Key: "hazards/plain/../x" }],
  ]);
  const DATASET = "hazards-of-a-source";

  beforeAll(async () => {
    const plain = new Map([...objects].filter(([key]) => !key.startsWith("a-")));
    await fill("hazards/", plain);
    await fill("hazards/", new Map([["a-encoded", text("encoded")]]), { headers: { "content-encoding": "gzip" } });
    const metadata = { "x-amz-meta-a": "m".repeat(8100) };
    await fill("hazards/", new Map([["a-metadata", text("metadata")]]), { headers: metadata });
    await registerDataset(DATASET, "hazards/");
  });

  it("are found before anything is copied, with the keys", async () => {
    listedAs(AS);
    const run = await startRun(DATASET, seen, { dryRun: true });
    await carry(run);
    const { hazards } = await statusOf(run);
    const keys = Object.fromEntries(Object.entries(hazards).map(([kind, found]) => [kind, found.keys]));
    expect(keys).toEqual({
      "nfc-conflict": [NFD, NFD.normalize("NFC")],
      "not-nfc": ["u\u0308ber"],
      "dot-segments": ["plain/../x"],
      "double-slash": ["x//y"],
      "control-characters": ["control\u0001"],
      "key-too-long": [LONG],
      archived: ["archived"],
      "object-too-large": ["huge"],
      "unequal-parts": ["multipart"],
      "encoded-body": ["a-encoded"],
      "oversized-metadata": ["a-metadata"],
    });
    expect(Object.values(hazards).map((found) => found.objects)).toEqual(
      Object.values(keys).map(({ length }) => length),
    );
    const sampled = Object.entries(hazards).flatMap(([kind, { sampledOf }]) =>
      (sampledOf ?? []) ? [[kind, sampledOf]] : [],
    );
    expect(Object.fromEntries(sampled)).toEqual({ "encoded-body": 5, "oversized-metadata": 5 });
    expect(said(await reportLines(run)).filter((line) => line.includes(": failed"))).toEqual([
      "archived: failed source-archived",
      "huge: failed object-too-large",
      `${LONG}: failed key-too-long`,
      `${NFD}: failed key-conflict`,
      `${NFD.normalize("NFC")}: failed key-conflict`,
    ]);
  });

  it("are not counted of what the run is not about", async () => {
    listedAs(AS);
    const run = await startRun(DATASET, seen, { dryRun: true, include: ["huge/**", "archived", NFD] });
    await carry(run);
    expect(Object.keys((await statusOf(run)).hazards).sort()).toEqual(["archived", "not-nfc"]);
  });
});
