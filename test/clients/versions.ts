/** Real readers of sealed versions: of the files, of the lists and documents made of them, and of the objects they pin. */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Checks } from "../harness/checks.ts";
import { runScript } from "./python.ts";
import type { Name, Stage } from "./stage.ts";
import { checkPinned, checkSums } from "./versions/checksums.ts";
import { NAMES_PREFIX, smallFile } from "./versions/corpus.ts";
import { changesBetween, entriesOf } from "./versions/entries.ts";
import { checkExports } from "./versions/exports.ts";
import { checkJobOfVersion } from "./versions/job.ts";
import { openBucket } from "./versions/other-tool.ts";
import { checkReadmeLines } from "./versions/readme-lines.ts";
import { checkRecords } from "./versions/records.ts";
import { manifestOf, reconcile, sealedRoot, sealVersion, untilListed } from "./versions/sealing.ts";

/** Stores of the matrix, all in one dataset, that have no consolidated metadata. */
const PLAIN_STORES = { "v2-slash-plain": 2, "v3-slash-plain": 3, "v3-sharded-slash-plain": 3 } as const;
const ZARR_DATASETS = ["plain-v2", "plain-v3", "matrix"] as const;

interface VersionsInput {
  python: string;
  stage: Stage;
  /** Empty, to write into. */
  folder: string;
}

export async function runVersions(checks: Checks, { python, stage, folder }: VersionsInput): Promise<void> {
  const made = (name: string) => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  };
  await checks.section("sealing what was migrated", () => sealFirst(checks, stage));
  await checks.section("a job on a version, while it changes", () => checkJobOfVersion(checks, stage));
  const downloads = join(folder, "edge");
  await checks.section("sha256sum: by URLs of the edge", () =>
    checkSums(checks, stage, { folder: downloads, via: "edge", version: "live" }),
  );
  await checkExports(checks, { python, stage, folder: made("exports"), downloads });
  await checks.section("zarr-python and xarray: sealed stores", async () => {
    await runScript(checks, { python, name: "sealed_zarr.py", given: { stores: await sealedStores(stage) } });
  });
  await checks.section("curl and jq: records", () => checkRecords(checks, stage, made("records")));

  const parquet = made("parquet");
  let given: unknown = null;
  await checks.section("sealing what another tool changed", async () => {
    given = await sealSecond(checks, stage, parquet);
  });
  for (const client of ["DuckDB", "polars", "pyarrow"]) {
    const name = `sealed_${client.toLowerCase()}.py`;
    await checks.section(`${client}: sealed Parquet`, () => runScript(checks, { python, name, given }));
  }
  await checks.section("sha256sum: by presigned URLs of R2", async () => {
    await checkSums(checks, stage, { folder: join(folder, "r2"), via: "r2", version: "2" });
    await checkPinned(checks, stage, smallFile(1));
  });
  await checks.section("jq: the README's lines", () => checkReadmeLines(checks, stage, made("readme")));
}

async function sealFirst(checks: Checks, stage: Stage): Promise<void> {
  const { client } = stage;
  const count = (name: Name) => stage.objectsOf(name).size;
  for (const name of ["flights", ...ZARR_DATASETS] as const) await untilListed(client, name, count(name));
  const { state, hashed } = await reconcile(client, "flights");
  checks.equal("flights: a walk reads what has no SHA-256", [state, hashed], ["done", count("flights")]);
  const first = await sealVersion(client, "flights", { note: "as migrated" });
  checks.equal("flights@1 has every object", first.objects, count("flights"));
  const sealed = await Promise.all(ZARR_DATASETS.map((name) => sealVersion(client, name)));
  const [v2, v3, matrix] = sealed.map(({ derived }) => derived.toSorted());
  checks.equal("plain-v2@1 has consolidated metadata", v2, [".zmetadata"]);
  checks.equal("plain-v3@1 has consolidated metadata", v3, ["zarr.json"]);
  const expected = Object.entries({ ...PLAIN_STORES, large: 3 }).map(([store, format]) => {
    return `${store}/${format === 2 ? ".zmetadata" : "zarr.json"}`;
  });
  checks.equal("matrix@1 has it for each store that has none", matrix, expected.toSorted());
}

async function sealedStores(stage: Stage): Promise<object[]> {
  const { client } = stage;
  const roots = async (name: Name) => [await sealedRoot(client, name, 1), await stage.rootUrl(name)] as const;
  const [sealed, live] = await roots("matrix");
  const nested = Object.entries(PLAIN_STORES).map(([name, format]) => {
    return { name, format, sealed: `${sealed}${name}/`, live: `${live}${name}/`, nested: true };
  });
  const [sealed2, live2] = await roots("plain-v2");
  const [sealed3, live3] = await roots("plain-v3");
  return [
    { name: "plain-v2", format: 2, sealed: sealed2, live: live2, nested: false },
    { name: "plain-v3", format: 3, sealed: sealed3, live: live3, nested: false },
    ...nested,
  ];
}

/** Seals version 2 of `flights` after one object of each kind of change, and downloads its files. */
async function sealSecond(checks: Checks, stage: Stage, folder: string): Promise<unknown> {
  const { client } = stage;
  const bucket = openBucket(stage, "flights");
  const text = (of: string) => new TextEncoder().encode(of);
  const before = new Map([...stage.objectsOf("flights")].map(([key, { bytes }]) => [key, bytes]));
  const objects = new Map(before);
  for (const [key, bytes] of [
    [smallFile(1), text("changed")],
    ["raw/new/added.txt", text("added")],
  ] as const) {
    await bucket.put(key, bytes);
    objects.set(key, bytes);
  }
  await bucket.remove(smallFile(2));
  objects.delete(smallFile(2));
  const { added, changed, removed } = await reconcile(client, "flights");
  checks.equal("a walk finds what another tool wrote and deleted", [added, changed, removed], [1, 1, 1]);
  const { number, files } = await sealVersion(client, "flights", { aliases: ["stable"] });
  checks.equal("it is version 2", number, 2);
  let wrong = 0;
  for (const { name, url, bytes, sha256 } of files) {
    const body = Buffer.from(await (await fetch(url)).arrayBuffer());
    const digest = createHash("sha256").update(body).digest("hex");
    // The index is as large as the version, and has a checksum by R2's ETag alone.
    if (body.length !== bytes || sha256 !== (name === "index.bin" ? null : digest)) wrong++;
    writeFileSync(join(folder, name), body);
  }
  const names = files.map(({ name }) => name).sort();
  const expected = ["changes-0001.parquet", "index.bin", "manifest-0001.parquet", "version.json"];
  checks.equal(
    "its files are downloaded by their URLs, with the checksums that it tells",
    [names, wrong],
    [expected, 0],
  );
  const rows = entriesOf(objects);
  const changes = changesBetween(entriesOf(before), rows);
  const diff = await client.call<{ changes: unknown[] }>("GET", "/v1/datasets/flights/versions/1..2");
  checks.equal("the manifest's JSON is what there is", await manifestOf(client, "flights", 2), rows);
  checks.equal("the diff's JSON is what was changed", diff.changes, changes);
  return { folder, files, rows, changes, prefix: NAMES_PREFIX };
}
