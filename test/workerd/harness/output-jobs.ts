import { env } from "cloudflare:workers";
import { afterEach, beforeEach, vi } from "vitest";
import { claimed, givenJob } from "./outputs.ts";
import { sealable } from "./sealed.ts";

/** For all tests of a file: time passes by `pass` alone, and nothing is logged. */
export function heldStill(): void {
  beforeEach(() => {
    for (const method of ["log", "warn", "error"] as const) vi.spyOn(console, method).mockReturnValue(undefined);
    vi.useFakeTimers({ toFake: ["Date"] });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });
}

export const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

/** Makes jobs, each with a dataset of its own, whose name begins so. */
export function freshJobs(prefix: string, seen: () => Env) {
  let named = 0;
  return async (more: Parameters<typeof givenJob>[1] = {}) => {
    const name = `${prefix}-${++named}`;
    await claimed(name);
    return { name, ...(await givenJob(name, more, seen())) };
  };
}

/** A job on a dataset that can be sealed: one of its own, or another's. */
export async function sealableJob(
  seen: Env,
  more: Parameters<typeof givenJob>[1] = {},
  of?: Awaited<ReturnType<typeof sealable>>,
) {
  const dataset = of ?? (await sealable());
  const job = await givenJob(dataset.name, { expiresAt: Date.now() + 86_400_000, ...more }, seen);
  return { name: dataset.name, dataset, ...job };
}
export type SealableJob = Awaited<ReturnType<typeof sealableJob>>;

export const first = <T>(all: readonly T[]): T => {
  if (all[0] === undefined) throw new Error("There is none.");
  return all[0];
};

export const codeOf = ({ status, body }: { status: number; body: Record<string, unknown> }) => [status, body["code"]];

/** What is stored at a key of a dataset. */
export const text = async (name: string, key: string) => (await env.DATASETS.get(`${name}/${key}`))?.text();
