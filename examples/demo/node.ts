/**
 * One GPU node of the demo, in a process of its own. It knows what a rented machine would: where Penstock is, its
 * job's token and root URL. It reads the job's array one way or the other, compares every value with the original
 * raster, puts an output, and prints what it saw as JSON.
 *
 *   node examples/demo/node.ts zarr|presigned
 */
import { readFileSync } from "node:fs";
import { connectJob } from "../penstock-job.ts";
import { readPresigned } from "../read-presigned.ts";
import { readZarr } from "../read-zarr.ts";

const need = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`Set ${name}`);
  return value;
};

const way = process.argv[2] ?? "";
const job = connectJob(need("PENSTOCK_URL"), need("PENSTOCK_JOB"), need("PENSTOCK_TOKEN"), `node-${way}`);
const raster = JSON.parse(readFileSync(need("PENSTOCK_EXPECTED"), "utf8")) as {
  width: number;
  height: number;
  values: number[];
};

/** Throws unless every value is the original's. */
function compare(reading: { shape: number[]; values: ArrayLike<number> }): number {
  const [height, width] = reading.shape;
  if (height !== raster.height || width !== raster.width || reading.values.length !== raster.values.length) {
    throw new Error(`The shape is ${reading.shape.join(" x ")}, not ${raster.height} x ${raster.width}`);
  }
  const wrong = raster.values.findIndex((value, index) => reading.values[index] !== value);
  if (wrong !== -1) throw new Error(`Value ${wrong} is ${reading.values[wrong]}, not ${raster.values[wrong]}`);
  return reading.values.length;
}

await job.heartbeat();
const report: Record<string, unknown> = { node: way };
let values: ArrayLike<number>;
if (way === "zarr") {
  const first = await readZarr(need("PENSTOCK_ROOT_URL"), "precip-v3.zarr/precip");
  const second = await readZarr(need("PENSTOCK_ROOT_URL"), "precip-v3.zarr/precip");
  report["compared"] = compare(first) + compare(second);
  Object.assign(report, { requests: first.requests, bytes: first.bytes });
  Object.assign(report, { secondRequests: second.requests, secondHits: second.hits });
  values = second.values;
} else {
  const reading = await readPresigned(job, "precip-v2.zarr/precip");
  report["compared"] = compare(reading);
  Object.assign(report, { requests: reading.requests, bytes: reading.bytes });
  values = reading.values;
}
const list = Array.from(values);
const mean = list.reduce((sum, value) => sum + value, 0) / list.length;
const summary = { node: way, values: list.length, mean, max: Math.max(...list), min: Math.min(...list) };
await job.putOutput(`runs/demo/${way}.json`, JSON.stringify(summary), "application/json");
await job.heartbeat();
report["mean"] = mean;
console.log(JSON.stringify(report));
