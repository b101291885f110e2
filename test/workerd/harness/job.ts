import { env } from "cloudflare:workers";
import { newId } from "../../../workers/adapters/ids.ts";
import { jobOf } from "../../../workers/adapters/objects.ts";
import type { JobSpec } from "../../../workers/core/jobs/job.ts";
import { jobBodySchema } from "../../../workers/core/jobs/request.ts";

/** A job's specification, as the gateway makes them. */
export function jobSpec(more: Partial<JobSpec> = {}): JobSpec {
  const now = Date.now();
  const body = jobBodySchema.parse({ name: "unet", dataset: "era5@1", input: { prefixes: ["t2m/"] } });
  return {
    ...body,
    id: newId("job", now),
    datasetName: "era5",
    datasetId: "ds_1",
    version: "1",
    bucket: "DATASETS",
    prefix: "era5/",
    lostAfterSeconds: body.heartbeatTimeoutSeconds,
    unitList: { count: 10, bytes: 1000, digest: "0".repeat(64) },
    createdAt: now,
    expiresAt: now + 3_600_000,
    ...more,
  };
}

/** A job's object, before anybody has asked it for anything. */
export const stubOf = (spec: JobSpec) => jobOf(env, spec.id);
