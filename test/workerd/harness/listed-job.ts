import { env } from "cloudflare:workers";
import { configOf } from "../../../workers/adapters/config.ts";
import { newId } from "../../../workers/adapters/ids.ts";
import { tokensOf } from "../../../workers/adapters/tokens.ts";
import { writeUnits } from "../../../workers/adapters/unit-lists.ts";
import type { Part, Unit } from "../../../workers/core/jobs/units/unit.ts";
import { ok } from "../../../workers/core/result.ts";
import { api } from "./api.ts";
import { jobSpec } from "./job.ts";
import { leasingJob } from "./leasing.ts";
import { must } from "./run.ts";

async function* listOf(parts: readonly Part[][]) {
  for (const some of parts) {
    const unit: Unit = { parts: some, bytes: some.reduce((sum, { size }) => sum + size, 0) };
    yield ok(unit);
  }
}

/** A job on version 1 whose units are these, in the order of their list, as the gateway makes them; and its token. */
export async function listedJob(
  seen: Env,
  { name, id: datasetId }: { name: string; id: string },
  parts: readonly Part[][],
  more: Parameters<typeof leasingJob>[1] = {},
) {
  const id = newId("job", Date.now());
  const unitList = must(await writeUnits(env, id, listOf(parts)));
  const input = { ...jobSpec().input, prefixes: [""] };
  const dataset = { datasetName: name, datasetId, prefix: `${name}/`, version: "1", input };
  const units = { shuffle: false, ...more.units };
  const leasing = await leasingJob(parts.length, { id, unitList, ...dataset, ...more, units });
  const tokens = tokensOf(seen, must(configOf(seen)));
  const seconds = Math.floor(Date.now() / 1000);
  const token = await tokens.mintJobToken({ job: id, ds: datasetId, nbf: seconds, exp: seconds + 86_400, jti: "j" });
  const post = (route: string, body: unknown, by = token, through = seen) =>
    api(through, `POST /v1/jobs/${id}/${route}`, body, by);
  return { ...leasing, token, post };
}
