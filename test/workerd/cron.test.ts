import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { tick } from "../../workers/cron.ts";
import { api, apiTokens } from "./harness/api.ts";
import { must, registerDataset } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { beforeDatasetCall } from "./harness/through.ts";

const EVERY_MINUTE = "* * * * *";
const NOW = Date.now();
const minutes = (count: number) => NOW + count * 60_000;

async function register(name: string, schedule = EVERY_MINUTE): Promise<void> {
  await registerDataset(name, `${name}/`);
  const claim = { name, kind: "files", bucket: "DATASETS", prefix: `${name}/`, schedule };
  await directoryOf(env).claimDataset(claim, `ds_${name}`);
}

/** Which migration holds the dataset: it holds from its start, for nobody delivers its messages here. */
async function runOf(name: string): Promise<string | null> {
  const described = await datasetOf(env, name).describe();
  return described.ok ? described.value.migration : null;
}

/** An environment in which one dataset's object always throws. */
function withSick(name: string): Env {
  const seen = envWith("plain");
  const getByName = (asked: string) => {
    if (asked === name) throw new Error("Durable Object reset because its code was updated.");
    return env.DATASET.getByName(asked);
  };
  return { ...seen, DATASET: { getByName } as typeof env.DATASET };
}

describe("a tick of the cron", () => {
  beforeEach(() => {
    vi.spyOn(console, "log").mockReturnValue(undefined);
    vi.spyOn(console, "error").mockReturnValue(undefined);
  });

  it("starts what is due, although another dataset that is due cannot be asked", async () => {
    await register("cron-a");
    await register("cron-b");
    await tick(minutes(2), withSick("cron-a"));
    expect(await runOf("cron-a")).toBeNull();
    expect(await runOf("cron-b")).toMatch(/^mig_/);
  });

  it("leaves what failed due, and what runs alone", async () => {
    const running = await runOf("cron-b");
    await tick(minutes(3), envWith("plain"));
    expect(await runOf("cron-a")).toMatch(/^mig_/);
    expect(await runOf("cron-b")).toBe(running);
  });

  it("starts nothing that is not due", async () => {
    await register("cron-c");
    await tick(NOW - 60_000, envWith("plain"));
    expect(await runOf("cron-c")).toBeNull();
  });

  it("gives a dataset that has work its alarm again, until none is left", async () => {
    const seen = envWith("plain", await apiTokens());
    await api(seen, "PUT /v1/datasets/cron-w", { kind: "files", prefix: "cron-w/" });
    const stub = datasetOf(env, "cron-w");
    const isRunning = async () =>
      (await directoryOf(env).running()).some(({ kind, name }) => kind === "dataset" && name === "cron-w");
    /** Has the alarm lost, ticks, and says what there is then. */
    const afterTick = async () => {
      await runInDurableObject(stub, (_, { storage }) => storage.deleteAlarm());
      await tick(NOW, seen);
      const alarm = await runInDurableObject(stub, (_, { storage }) => storage.getAlarm());
      return { hasAlarm: alarm !== null, isRunning: await isRunning() };
    };
    const begun: [request: `POST ${string}` | `PATCH ${string}`, body: object, done: string][] = [
      ["POST /v1/datasets/cron-w/reconcile", {}, "UPDATE walk SET state = 'done', due_at = NULL"],
      ["PATCH /v1/datasets/cron-w", { places: [{ pattern: "a/..." }] }, "DELETE FROM placing"],
      ["POST /v1/datasets/cron-w/versions", {}, "DELETE FROM version"],
    ];
    for (const [request, body, done] of begun) {
      expect(await isRunning(), request).toBe(false);
      await api(seen, request, body);
      expect(await afterTick(), request).toEqual({ hasAlarm: true, isRunning: true });
      await runInDurableObject(stub, (_, { storage }) => void storage.sql.exec(done));
      expect(await afterTick(), request).toEqual({ hasAlarm: false, isRunning: false });
    }
    // A tombstone, which expires in a month, is no work.
    await api(seen, "POST /v1/datasets/cron-w/reconcile", {});
    await runInDurableObject(stub, (_, { storage }) => void storage.sql.exec(begun[0]?.[2] ?? ""));
    const { id } = must(await stub.config());
    await stub.bury(id, ["k"]);
    expect(await afterTick()).toEqual({ hasAlarm: true, isRunning: false });
  });

  it("keeps the mark of work that was begun while it looked", async () => {
    await registerDataset("cron-x", "cron-x/");
    const claim = { name: "cron-x", kind: "files", bucket: "DATASETS", prefix: "cron-x/", schedule: null };
    await directoryOf(env).claimDataset(claim, "ds_cron-x");
    await directoryOf(env).setState("dataset", "cron-x", "running");
    let asked = 0;
    const seen = envWith("plain");
    const begins = async () => {
      if (++asked === 2) must(await datasetOf(env, "cron-x").beginWalk(false));
    };
    await tick(NOW, beforeDatasetCall(seen, "rearm", begins));
    expect(await directoryOf(env).running()).toContainEqual({ kind: "dataset", name: "cron-x" });
  });

  it("says what it could not start, and asks again when that falls due again, not at every tick", async () => {
    await register("cron-d", "0 * * * *");
    const warn = vi.spyOn(console, "warn").mockReturnValue(undefined);
    const said = () => warn.mock.calls.map(([line]) => String(line)).filter((line) => line.includes("cron-d"));
    const misconfigured = envWith("plain", { SOURCES: {} });
    const hour = Math.ceil(NOW / 3_600_000) * 3_600_000;
    for (const [minute, times] of [
      [0, 1],
      [1, 1],
      [59, 1],
      [60, 2],
    ] as const) {
      await tick(hour + minute * 60_000, misconfigured);
      expect(said()).toHaveLength(times);
    }
    expect(JSON.parse(said()[0] ?? "")).toMatchObject({ dataset: "cron-d", code: "unknown-source" });
    expect(await runOf("cron-d")).toBeNull();
    await tick(hour + 120 * 60_000, envWith("plain"));
    expect(await runOf("cron-d")).toMatch(/^mig_/);
  });
});
