import { runInDurableObject } from "cloudflare:test";
import { newId } from "../../../workers/adapters/ids.ts";
import type { JobSpec } from "../../../workers/core/jobs/job.ts";
import type { LeaseAnswer } from "../../../workers/core/jobs/lease.ts";
import type { Resume } from "../../../workers/core/jobs/resume.ts";
import { jobSpec, stubOf } from "./job.ts";
import { must } from "./run.ts";

/** A job of so many units that nodes lease, without their list: an hour to live, leases of 100 s, a silence of 60 s. */
export async function leasingJob(
  count: number,
  { units, ...more }: Omit<Partial<JobSpec>, "units"> & { units?: Partial<JobSpec["units"]> } = {},
  resume: Resume | null = null,
) {
  const base = jobSpec();
  const spec: JobSpec = {
    ...base,
    id: newId("job", Date.now()),
    unitList: { ...base.unitList, count },
    heartbeatTimeoutSeconds: 60,
    lostAfterSeconds: 600,
    ...more,
    units: { ...base.units, leaseSeconds: 100, ...units },
  };
  const job = stubOf(spec);
  must(await job.create(spec, resume));
  let requests = 0;
  const lease = async (node: string, units_: number, request = `r${++requests}`, epoch: number | null = null) =>
    must<LeaseAnswer>(await job.lease(node, { request, count: units_, epoch }));
  const done = async (node: string, { leases }: Pick<LeaseAnswer, "leases">) =>
    must(
      await job.ack(
        node,
        leases.map((given) => ({ lease: given.lease, outcome: "done" })),
      ),
    );
  /** All that is kept of it, table by table. */
  const dump = () =>
    runInDurableObject(job, (_, { storage: { sql } }) => {
      const names = sql.exec<{ name: string }>(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\' ORDER BY name",
      );
      return JSON.stringify(names.toArray().map(({ name }) => [name, sql.exec(`SELECT * FROM "${name}"`).toArray()]));
    });
  return { id: spec.id, spec, job, lease, done, dump };
}
export type Leasing = Awaited<ReturnType<typeof leasingJob>>;
