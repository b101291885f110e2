/** A job on a sealed version, which reads while somebody changes the objects. */
import { readFileSync } from "node:fs";
import { RASTER } from "../../../examples/demo/data.ts";
import { readZarr } from "../../../examples/read-zarr.ts";
import type { Checks } from "../../harness/checks.ts";
import type { Stage } from "../stage.ts";
import { openBucket } from "./other-tool.ts";
import { runProgram } from "./program.ts";

/** Chunks of the array that are changed, and deleted. */
const [CHANGED, DELETED] = ["precip/2.2", "precip/3.3"];

/**
 * Reads `plain-v2@1` as a node does. Nobody may have read its chunks before: what the edge has of a sealed object it serves,
 * for those are the bytes that were sealed.
 */
export async function checkJobOfVersion(checks: Checks, stage: Stage): Promise<void> {
  const objects = stage.objectsOf("plain-v2");
  const bytesOf = (key: string) => objects.get(key)?.bytes ?? new Uint8Array();
  const spec = { name: "sealed", dataset: "plain-v2@1", input: { prefixes: [""] } };
  const job = await stage.client.call<{ dataset: string; read: { rootUrl: string } }>("POST", "/v1/jobs", spec);
  const { rootUrl } = job.read;
  checks.equal(
    "the job names the version, and so does its root URL",
    [job.dataset, rootUrl.endsWith("/plain-v2@1/")],
    ["plain-v2@1", true],
  );

  const bucket = openBucket(stage, "plain-v2");
  await bucket.put(CHANGED, bytesOf("precip/0.0"));
  await bucket.put("precip/new", bytesOf("precip/0.0"));
  await bucket.remove(DELETED);

  const answers: Record<string, string[]> = {};
  let wrong = 0;
  for (const key of [...objects.keys(), "precip/new"]) {
    const { out } = await runProgram("curl", ["-sS", "--write-out", "%{http_code}", rootUrl + key]);
    const status = out.subarray(-3).toString();
    (answers[status] ??= []).push(key);
    if (status === "200" && Buffer.compare(out.subarray(0, -3), bytesOf(key)) !== 0) wrong++;
  }
  const { 200: same = [], ...refused } = answers;
  checks.equal("what was changed or deleted is a 409; what came later is no part of the version: a 404", refused, {
    404: ["precip/new"],
    409: [CHANGED, DELETED],
  });
  checks.equal(
    `the other ${objects.size - 2} objects are as they were sealed`,
    [same.length, wrong],
    [objects.size - 2, 0],
  );
  const answer = await fetch(rootUrl + CHANGED);
  const text = await answer.text();
  checks.that("the 409 names the version", text.includes("object-changed") && text.includes("version 1"), text);
  const failed = await readZarr(rootUrl, "precip").then(() => "read", String);
  checks.that("zarrita ends with that error, and without wrong numbers", failed.includes("409"), failed);

  await bucket.put(CHANGED, bytesOf(CHANGED));
  await bucket.put(DELETED, bytesOf(DELETED));
  await bucket.remove("precip/new");
  const { values } = JSON.parse(readFileSync(RASTER, "utf8")) as { values: number[] };
  const read = await readZarr(rootUrl, "precip");
  const differ = values.filter((value, index) => read.values[index] !== value).length;
  checks.equal(`once the objects are back, zarrita reads every value (${values.length})`, differ, 0);
}
