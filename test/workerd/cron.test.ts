import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { tick } from "../../workers/cron.ts";
import { registerDataset } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";

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
