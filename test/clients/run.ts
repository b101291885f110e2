/**
 * Real clients on what a migration left in R2: zarr-python, xarray, TensorStore, zarrita, DuckDB, pyarrow, fsspec,
 * obstore, requests, boto3 and curl; and on sealed versions polars, sha256sum, jq, mlcroissant, pystac and NVIDIA's
 * Multi-Storage Client, too. Needs Python 3.11 or newer with venv, curl, jq and Chromium; installs the rest itself.
 *
 *     node test/clients/run.ts
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RASTER } from "../../examples/demo/data.ts";
import { createChecks } from "../harness/checks.ts";
import { createClient } from "../harness/client.ts";
import { ROOT } from "../harness/instance.ts";
import { checkBrowser } from "./browser.ts";
import { checkCurl } from "./curl.ts";
import { installClients, runPreparation, runScript } from "./python.ts";
import { runJobs } from "./jobs.ts";
import { runReaders } from "./readers.ts";
import { JSONL, type Stage, setStage } from "./stage.ts";
import { runVersions } from "./versions.ts";

/** zarr-python asks for all of them before it knows the format. */
const METADATA_KEYS = ["zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"];

const checks = createChecks();
const folder = mkdtempSync(join(tmpdir(), "penstock-clients-"));
/** What the Python preparations write: objects, and what readers of other languages compare values with. */
const [stores, truth, versions, jobs] = ["stores", "truth", "versions", "jobs"].map((name) => join(folder, name)) as [
  string,
  string,
  string,
  string,
];

let python = "";
let stage: Stage | null = null;
try {
  await checks.section("installing the Python clients", async () => {
    python = await installClients();
  });
  await checks.section("migrating what they will read", async () => {
    if (python === "") throw new Error("Without the Python clients there is nothing to migrate.");
    for (const made of [stores, truth, versions, jobs]) mkdirSync(made);
    for (const name of ["make_holes.py", "make_matrix.py", "make_files.py"]) {
      await runPreparation({ python, name, given: { folder: stores, truth } });
    }
    stage = await setStage(checks, stores);
  });
  if (stage !== null) {
    await runClients(stage);
    await runReaders(checks, { python, stage, folder: stores, truth });
    await runVersions(checks, { python, stage, folder: versions });
    await runJobs(checks, { python, stage, folder: jobs });
  }
} catch (error) {
  checks.that("the run gets to its end", false, error instanceof Error ? error.stack : error);
} finally {
  await (stage as Stage | null)?.stop();
  rmSync(folder, { recursive: true, force: true });
}
checks.end();

async function runClients(on: Stage): Promise<void> {
  const roots = {
    "precip-v3": await on.rootUrl("precip-v3"),
    "precip-v2": await on.rootUrl("precip-v2"),
    "holes-v3": await on.rootUrl("holes-v3"),
    "holes-v2": await on.rootUrl("holes-v2"),
    "metadata-only": await on.rootUrl("holes-v3", { keys: METADATA_KEYS }),
  };
  await checks.section("zarr-python 3", () =>
    runScript(checks, { python, name: "zarr_python.py", given: { roots, raster: RASTER } }),
  );
  await checks.section("xarray", () =>
    runScript(checks, { python, name: "xarray_zarr.py", given: { roots, raster: RASTER } }),
  );

  const file = on.objectsOf("records").get(JSONL);
  if (file === undefined) throw new Error(`There is no ${JSONL}`);
  const url = (await on.rootUrl("records")) + JSONL;
  const md5 = createHash("md5").update(file.bytes).digest("hex");
  const lines = file.bytes.reduce((count, byte) => count + (byte === 0x0a ? 1 : 0), 0);
  await checks.section("fsspec", () => {
    const given = { file: { url, md5, size: file.bytes.length, records: lines } };
    return runScript(checks, { python, name: "fsspec_file.py", given });
  });
  await checks.section("curl", () => checkCurl(checks, { url, bytes: file.bytes, etag: md5, folder }));
  await checks.section("Chromium, from other origins", () => checkBrowser(checks, on));
  await checks.section("a job: requests on presigned URLs, then boto3 as a witness", () => runJob(on));
}

/** A job as its nodes see it: its chunks by presigned GETs, its output by a presigned PUT, and its end. */
async function runJob(on: Stage): Promise<void> {
  const chunks = [...on.objectsOf("precip-v2").keys()].filter((key) => /^precip\/\d+\.\d+$/.test(key));
  const outputs = { "written.json": '{"loss": 0.25}\n', "never.json": '{"loss": null}\n' };
  const created = await on.client.call<{ id: string; token: string }>("POST", "/v1/jobs", {
    name: "clients",
    dataset: "precip-v2",
    input: { prefixes: ["precip/"] },
    outputPrefix: "outputs/",
  });
  const job = createClient(new URL(on.r2.endpoint).origin, created.token);
  const urls = `/v1/jobs/${created.id}/urls`;
  const gets = await job.call<{ urls: unknown[] }>("POST", urls, { method: "GET", keys: chunks });
  const announced = Object.entries(outputs).map(([name, text]) => ({
    key: `outputs/${name}`,
    size: Buffer.byteLength(text),
    contentType: "application/json",
  }));
  const puts = await job.call<{ urls: unknown[] }>("POST", urls, { method: "PUT", objects: announced });
  const names = Object.keys(outputs);
  await runScript(checks, {
    python,
    name: "presigned.py",
    given: {
      gets: gets.urls,
      originals: join(ROOT, "test/fixtures/zarr/precip-v2.zarr"),
      puts: Object.fromEntries(puts.urls.map((signed, index) => [names[index], signed])),
      outputs,
    },
  });

  const finish = { outputs: ["outputs/written.json"] };
  const finished = await job.call<{ state: string }>("POST", `/v1/jobs/${created.id}/finish`, finish);
  checks.equal("the job finishes with the output that was written", finished.state, "done");
  const sizes = [...on.objectsOf("precip-v2")].map(([key, { bytes }]) => [key, bytes.length] as const);
  await runScript(checks, {
    python,
    name: "boto3_r2.py",
    given: {
      r2: { ...on.r2, bucket: "penstock-datasets", prefix: on.prefixOf("precip-v2") },
      outputs,
      sizes: Object.fromEntries(sizes),
    },
  });
}
