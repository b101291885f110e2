/**
 * The main job, end to end, on this machine: `npm run demo`.
 *
 * A real S3 endpoint serves the source; the Worker runs under wrangler with local R2, queues and Durable Objects;
 * this program drives it over HTTP only, as a user would. Any mismatch ends it with an exit code other than 0.
 * With `-- --keep` the Worker keeps running afterwards, for the curl lines that are printed.
 */
import { spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Client, createClient, followMigration, type Migration } from "../../test/harness/client.ts";
import { type Instance, ROOT, startInstance } from "../../test/harness/instance.ts";
import { fillSource, type SourceObject, startLocalSource } from "../../test/harness/local-source.ts";
import { cubes, lateRecord, RASTER, records } from "./data.ts";
import { drawProgress, megabytes, say, step, table } from "./terminal.ts";

const MiB = 1024 * 1024;
const keep = process.argv.includes("--keep");
const started = Date.now();

interface Dataset {
  id: string;
  manifest: { objects: number; bytes: number; proofs: Record<string, number> };
}

/** What a node of the demo prints. */
interface NodeReport {
  compared: number;
  secondRequests?: number;
  secondHits?: number;
}

interface Created {
  id: string;
  token: string;
  read: { rootUrl: string };
}

async function main(instance: Instance, addAtSource: () => Promise<void>): Promise<void> {
  const admin = createClient(instance.url, instance.tokens.admin);

  step(1, "The source is checked, and two datasets are registered");
  await checkSource(admin);
  await admin.call("PUT", "/v1/datasets/precip", {
    kind: "zarr",
    prefix: "precip/",
    source: { name: "demo", prefix: "cubes/" },
  });
  await admin.call("PUT", "/v1/datasets/records", {
    kind: "files",
    prefix: "records/",
    source: { name: "demo", prefix: "records/" },
    schedule: "* * * * *",
  });
  say("   precip (zarr) and records (files, with a schedule)");

  step(2, "Both are migrated from S3 to R2");
  const runs: Migration[] = [];
  for (const dataset of ["precip", "records"]) {
    say(`   ${dataset}`);
    const { id } = await admin.call<Migration>("POST", "/v1/migrations", { dataset });
    runs.push(await finished(admin, id, drawProgress));
  }

  step(3, "The manifest says what is there, and why it is believed identical");
  const summaries = await summarise(admin);

  await compareBytes(admin, "precip", "cubes/", cubes());
  await compareBytes(admin, "records", "records/", records());

  step(4, "A GPU job reads the array: two nodes, each in a process of its own, compare every value");
  const job = await admin.call<Created>("POST", "/v1/jobs", {
    name: "demo",
    dataset: "precip",
    input: { prefixes: ["precip-v2.zarr/", "precip-v3.zarr/"] },
    outputPrefix: "runs/demo/",
    ttlSeconds: 3600,
  });
  const [zarr, presigned] = await Promise.all([runNode("zarr", instance, job), runNode("presigned", instance, job)]);
  const secondHits = zarr.secondHits ?? 0;
  const nodeClient = createClient(instance.url, job.token);
  const ended = await nodeClient.call<{ state: string; outputs: { committed: number } }>(
    "POST",
    `/v1/jobs/${job.id}/finish`,
    {},
  );
  expect(ended.state === "done" && ended.outputs.committed === 2, `the job is ${JSON.stringify(ended)}`);
  say(`   zarr: signed Zarr endpoint, ${zarr.compared} values equal (read twice)`);
  say(`   presigned: R2's own S3 endpoint, ${presigned.compared} values equal`);
  const { values } = JSON.parse(readFileSync(RASTER, "utf8")) as { values: number[] };
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  // The job's own capability has ended with it.
  const outputs = await admin.call<{ rootUrl: string }>("POST", "/v1/datasets/precip/capabilities", {
    prefixes: ["runs/demo/"],
  });
  for (const way of ["zarr", "presigned"]) {
    const output = await fetch(`${outputs.rootUrl}runs/demo/${way}.json`);
    const summary = (await output.json()) as { mean: number };
    expect(output.status === 200 && summary.mean === mean, `node ${way} put the mean ${summary.mean}, not ${mean}`);
  }
  say("   each put an output through a presigned URL; both were read back");

  step(5, "One more object appears at the source, and the cron finds it");
  await addAtSource();
  const before = await migrationIds(admin);
  await instance.cron(Date.now() + 61_000);
  const [fresh] = (await migrationIds(admin)).filter((id) => !before.includes(id));
  expect(fresh !== undefined, "the cron started no migration");
  const incremental = await finished(admin, fresh ?? "", drawProgress);
  expect(incremental.copied.objects === 1, `the cron's run copied ${incremental.copied.objects} objects, not 1`);
  expect(incremental.skipped.objects === records().length, `it skipped ${incremental.skipped.objects}`);
  say(`   copied ${incremental.copied.objects}, left ${incremental.skipped.objects} as they were`);

  step(6, "What happened");
  const all = [...runs, incremental];
  const operations = (name: keyof Migration["operations"]) => all.reduce((sum, run) => sum + run.operations[name], 0);
  const proofs = Object.entries(mergeCounts(all.map((run) => run.proofs)));
  table([
    ["objects copied", all.reduce((sum, run) => sum + run.copied.objects, 0)],
    ["bytes copied", megabytes(all.reduce((sum, run) => sum + run.copied.bytes, 0))],
    ["proofs", proofs.map(([proof, count]) => `${count} ${proof}`).join(", ")],
    ["failures", all.reduce((sum, run) => sum + run.failed.objects, 0)],
    ["R2 class A operations", operations("classA")],
    ["R2 class B operations", operations("classB")],
    ["queue operations", operations("queue")],
    ["source GET and HEAD", operations("sourceGet")],
    ["source LIST", operations("sourceList")],
    ["values compared", zarr.compared + presigned.compared],
    ["cache hits, second read", `${secondHits} of ${zarr.secondRequests ?? 0} requests`],
    ["objects in the manifest", summaries.reduce((sum, { manifest }) => sum + manifest.objects, 0)],
    ["seconds", ((Date.now() - started) / 1000).toFixed(1)],
  ]);
  expect(secondHits > 0, "the second read had no cache hit");
  await printCurls(instance, admin);
}

async function checkSource(admin: Client): Promise<void> {
  const { ok, steps } = await admin.call<{ ok: boolean; steps: { step: string; detail: string }[] }>(
    "POST",
    "/v1/sources/demo/check",
  );
  for (const { step: name, detail } of steps) say(`   ${name}: ${detail}`);
  expect(ok, "the source's check failed");
}

async function finished(admin: Client, id: string, onStatus: (status: Migration) => void): Promise<Migration> {
  const run = await followMigration(admin, id, { onStatus });
  expect(run.state === "done", `migration ${id} is ${run.state}: ${JSON.stringify(run.problem)}`);
  expect(run.failed.objects === 0, `migration ${id} has failures: ${JSON.stringify(run.failures)}`);
  return run;
}

async function summarise(admin: Client): Promise<Dataset[]> {
  const expected = { precip: cubes(), records: records() };
  const summaries: Dataset[] = [];
  for (const [name, objects] of Object.entries(expected)) {
    const dataset = await admin.call<Dataset>("GET", `/v1/datasets/${name}`);
    const { manifest } = dataset;
    const bytes = objects.reduce((sum, object) => sum + object.bytes.length, 0);
    const proofs = Object.entries(manifest.proofs).map(([proof, count]) => `${count} by ${proof}`);
    say(`   ${name}: ${manifest.objects} objects, ${megabytes(manifest.bytes)}; proved: ${proofs.join(", ")}`);
    expect(manifest.objects === objects.length, `${name} has ${manifest.objects} objects, not ${objects.length}`);
    expect(manifest.bytes === bytes, `${name} has ${manifest.bytes} bytes, not ${bytes}`);
    summaries.push(dataset);
  }
  return summaries;
}

/** Reads every object of a dataset over its signed URL, and compares each byte with what was put at the source. */
async function compareBytes(admin: Client, dataset: string, prefix: string, objects: SourceObject[]): Promise<void> {
  const { rootUrl } = await admin.call<{ rootUrl: string }>("POST", `/v1/datasets/${dataset}/capabilities`, {
    prefixes: [""],
  });
  for (const { key, bytes } of objects) {
    const response = await fetch(rootUrl + key.slice(prefix.length));
    expect(response.status === 200, `${key} answers ${response.status}`);
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes), `the bytes of ${key} differ`);
  }
  say(`   ${dataset}: every byte of ${objects.length} objects read back equal`);
}

/** Runs a node as a rented machine would: with the job's token and root URL in its environment, and nothing else. */
function runNode(way: string, instance: Instance, job: Created): Promise<NodeReport> {
  const env = {
    PATH: process.env["PATH"],
    PENSTOCK_URL: instance.url,
    PENSTOCK_JOB: job.id,
    PENSTOCK_TOKEN: job.token,
    PENSTOCK_ROOT_URL: job.read.rootUrl,
    PENSTOCK_EXPECTED: RASTER,
  };
  const child = spawn(process.execPath, [join(import.meta.dirname, "node.ts"), way], { env });
  let out = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => {
      if (code === 0) resolve(JSON.parse(out) as NodeReport);
      else reject(new Error(`Node ${way} ended with ${code}:\n${errors}`));
    });
  });
}

async function migrationIds(admin: Client): Promise<string[]> {
  const { migrations } = await admin.call<{ migrations: { id: string }[] }>("GET", "/v1/migrations");
  return migrations.map(({ id }) => id);
}

async function printCurls(instance: Instance, admin: Client): Promise<void> {
  const { rootUrl } = await admin.call<{ rootUrl: string }>("POST", "/v1/datasets/records/capabilities", {
    prefixes: [""],
  });
  if (!keep) {
    say("\nnpm run demo -- --keep leaves the Worker running, and prints curl lines to try by hand.");
    return;
  }
  say("\nTry by hand:");
  say(`   curl -s '${rootUrl}processed/movies/movies.jsonl' | head -n 2`);
  say(`   curl -s -r -8 '${rootUrl}acquired/flights/flights-3m.parquet' | tail -c 4   # PAR1`);
  say(`   curl -s -H 'Authorization: Bearer ${instance.tokens.read}' '${instance.url}/v1/datasets/records/manifest'`);
  say(`   curl -s -H 'Authorization: Bearer ${instance.tokens.read}' '${instance.url}/v1/migrations'`);
}

function mergeCounts(counts: Record<string, number>[]): Record<string, number> {
  const merged: Record<string, number> = {};
  for (const [name, count] of counts.flatMap((some) => Object.entries(some)))
    merged[name] = (merged[name] ?? 0) + count;
  return merged;
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(`Mismatch: ${otherwise}`);
}

/** Everything that must be ended, last started first. */
const running: (() => Promise<void>)[] = [];
const endAll = async () => {
  for (const stop of running.splice(0).reverse()) await stop();
};
process.once("SIGINT", () => void endAll().then(() => process.exit(130)));

try {
  say("Penstock: from S3 to R2 to a GPU job, on this machine");
  // Each demo starts with an empty R2.
  rmSync(join(ROOT, ".penstock/demo"), { recursive: true, force: true });
  const source = await startLocalSource();
  running.push(() => source.stop());
  await fillSource(source, [...cubes(), ...records()]);
  const instance = await startInstance({
    name: "demo",
    sources: { demo: source },
    vars: { MULTIPART_THRESHOLD_BYTES: String(8 * MiB), PART_BYTES: String(5 * MiB) },
  });
  running.push(() => instance.stop());
  say(`A source with ${cubes().length + records().length} objects, and the Worker at ${instance.url}`);
  await main(instance, () => fillSource(source, [lateRecord()]));
  if (keep) {
    say("\nThe Worker keeps running; end it with Ctrl-C.");
    await instance.ended;
  }
} catch (error) {
  console.error(error instanceof Error ? `\n${error.message}` : error);
  process.exitCode = 1;
} finally {
  await endAll();
}
