import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { onTestFinished, vi } from "vitest";
import type { Lease } from "../../../workers/core/pressure/lease.ts";

/*
 * The clock, of isolates and limiters alike, is the tests': it stands still while a request or a question to a limiter is
 * under way, so what is counted in a second of it is the same on a machine that is ten times slower.
 */
const realTimeout = globalThis.setTimeout.bind(globalThis);
const breathe = () => new Promise((done) => realTimeout(done, 1));
/** Milliseconds of the clock after which what was asked is answered. */
const STEP_MS = 50;
let underWay = 0;

/** From now on time passes by `pass` and `timely` alone, until `vi.useRealTimers`. */
export function holdClock(): void {
  vi.useFakeTimers();
  underWay = 0;
  onTestFinished(letGo);
}

let over = Promise.withResolvers<void>();
const awake = new Set<string>();
let isEvicting = false;
const letGo = (): void => {
  over.resolve();
  over = Promise.withResolvers();
};

/**
 * The runtime evicts an object that nobody asked anything for ten seconds of its own clock, which on a slow machine is soon:
 * a limiter whose holders are forgotten has tokens for a second once more. A request that is under way keeps it.
 */
function keepAwake(name: string): void {
  if (isEvicting || awake.has(name)) return;
  awake.add(name);
  const { promise } = over;
  const kept = runInDurableObject(env.SOURCE.getByName(name), () => promise);
  void kept.catch(() => undefined).finally(() => awake.delete(name));
}

/** Holds the clock until there is an answer, which waits for no time to pass. */
export async function holding<T>(asked: Promise<T>): Promise<T> {
  underWay += 1;
  return asked.finally(() => (underWay -= 1));
}

/** Has a limiter forget all that it has not stored. */
export async function evictLimiter(name: string): Promise<void> {
  isEvicting = true;
  letGo();
  await holding(evictDurableObject(env.SOURCE.getByName(name))).finally(() => (isEvicting = false));
}

async function settle(): Promise<void> {
  for (let quiet = 0; quiet < 2; quiet = underWay === 0 ? quiet + 1 : 0) await breathe();
}

/** Lets time pass. */
export async function pass(ms: number): Promise<void> {
  await settle();
  for (let left = ms; left > 0; left -= STEP_MS) {
    await vi.advanceTimersByTimeAsync(Math.min(STEP_MS, left));
    await settle();
  }
}

const LATER = Symbol("later");

/** Lets as much time pass as it takes. */
export async function timely<T>(begun: Promise<T>): Promise<T> {
  await settle();
  while ((await Promise.race([begun, Promise.resolve(LATER)])) === LATER) await pass(STEP_MS);
  return begun;
}

/** The limiters, which hold the clock. The questions to them are counted, or answered with an error. */
export function watchedSources(fails = false) {
  let asked = 0;
  const getByName = (name: string) => {
    const stub = env.SOURCE.getByName(name);
    const lease = async (...args: Parameters<typeof stub.lease>) => {
      asked += 1;
      if (fails) throw new Error("The limiter is down.");
      keepAwake(name);
      return holding(stub.lease(...args) as Promise<Lease>);
    };
    return new Proxy(stub, {
      get: (target, property) => {
        if (property === "lease") return lease;
        return fails ? undefined : (Reflect.get(target, property) as unknown);
      },
    });
  };
  return { SOURCE: { getByName } as unknown as Env["SOURCE"], asked: () => asked };
}
