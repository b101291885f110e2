import { env } from "cloudflare:workers";
import { afterEach, beforeEach, vi } from "vitest";
import { claimed, givenJob } from "./outputs.ts";

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

export const first = <T>(all: readonly T[]): T => {
  if (all[0] === undefined) throw new Error("There is none.");
  return all[0];
};

export const codeOf = ({ status, body }: { status: number; body: Record<string, unknown> }) => [status, body["code"]];

/** What is stored at a key of a dataset. */
export const text = async (name: string, key: string) => (await env.DATASETS.get(`${name}/${key}`))?.text();
