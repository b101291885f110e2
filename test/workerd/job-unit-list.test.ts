import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { newId } from "../../workers/adapters/ids.ts";
import { writeUnits } from "../../workers/adapters/unit-lists.ts";
import { ok } from "../../workers/core/result.ts";
import { type Leasing, leasingJob } from "./harness/leasing.ts";
import { must } from "./harness/run.ts";

beforeEach(() => {
  vi.spyOn(console, "error").mockReturnValue(undefined);
  // A day ahead, so that no alarm rings by itself.
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 86_400_000 });
});
afterEach(() => void vi.useRealTimers());

async function* units() {
  for (let n = 0; n < 3; n++) yield ok({ parts: [{ key: `k${n}`, size: 1 }], bytes: 1 });
}
async function listed(more: Parameters<typeof leasingJob>[1] = {}): Promise<Leasing> {
  const id = newId("job", Date.now());
  return leasingJob(3, { id, unitList: must(await writeUnits(env, id, units())), ...more });
}
const objectsOf = async ({ id }: Leasing) =>
  (await env.SYSTEM.list({ prefix: `jobs/${id}/` })).objects.map(({ key }) => key.slice(`jobs/${id}/`.length));
const alarmOf = ({ job }: Leasing) => runInDurableObject(job, (_, { storage }) => storage.getAlarm());
const rings = async (of: Leasing) => {
  // A look lets time pass; the alarm does the rest.
  await of.job.hasEnded();
  await runDurableObjectAlarm(of.job);
};

describe("the list of a job's units", () => {
  it("stays while the job runs, and goes after its end, with nothing left to ring for", async () => {
    const of = await listed();
    await of.lease("a", 1);
    await rings(of);
    expect(await objectsOf(of)).toEqual(["units/0", "units/index.json"]);
    must(await of.job.cancel());
    await rings(of);
    expect([await objectsOf(of), await alarmOf(of)]).toEqual([[], null]);
  });

  it("goes where nobody ended the job but time", async () => {
    const of = await listed({ expiresAt: Date.now() + 50_000 });
    vi.setSystemTime(Date.now() + 50_000);
    await rings(of);
    expect([await objectsOf(of), await alarmOf(of)]).toEqual([[], null]);
  });

  it("is tried again, later and later, while R2 does not delete it", async () => {
    const of = await listed();
    const failing = vi.fn<() => Promise<void>>(() => Promise.reject(new Error("We are down (10001)")));
    const patched = new Proxy(env.SYSTEM, {
      get: (bucket, name) => {
        const value: unknown = name === "delete" ? failing : Reflect.get(bucket, name);
        return typeof value === "function" ? (value.bind(bucket) as unknown) : value;
      },
    });
    const real = env.SYSTEM;
    await runInDurableObject(of.job, (instance) => {
      const own = instance as unknown as { env: Env };
      own.env = { ...own.env, SYSTEM: patched };
    });
    must(await of.job.cancel());
    const waits: number[] = [];
    for (let tries = 0; tries < 3; tries++) {
      await rings(of);
      const at = (await alarmOf(of)) ?? 0;
      waits.push(at - Date.now());
      vi.setSystemTime(at);
    }
    expect([waits, await objectsOf(of)]).toEqual([
      [2000, 4000, 8000],
      ["units/0", "units/index.json"],
    ]);
    await runInDurableObject(of.job, (instance) => {
      const own = instance as unknown as { env: Env };
      own.env = { ...own.env, SYSTEM: real };
    });
    await rings(of);
    expect([await objectsOf(of), await alarmOf(of)]).toEqual([[], null]);
  });
});
