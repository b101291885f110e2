import { type Measurement, tidy } from "../measure.ts";
import { MEMORY_OBJECTS, MEMORY_STEP } from "./cases.ts";
import { load } from "./load.ts";
import type { Server, Stage } from "./stage.ts";
import { residentMiB } from "../stage/usage.ts";

export const MEMORY_CASE = "memory-100k";
const STEPS = 10;
/** workerd takes memory from the system as it likes, a gigabyte for answering a constant; after so many steps no more. */
const STEPS_BEFORE = 6;
const CONNECTIONS = 16;
/** MiB by which the second half may peak above the first: a leak of 3 kB a read is more, workerd's own moods are half. */
const SLACK_MIB = 128;

/**
 * workerd's resident memory over 100,000 hot reads, looked at after every 10,000, beside what it was after 60,000 of a
 * constant's. It holds all of the Workers, the cache and the simulated R2.
 */
export async function measureMemory(stage: Stage, faults: string[]): Promise<Measurement> {
  const { constant, penstock } = stage.servers;
  await stage.put(MEMORY_OBJECTS);
  const before = await watched(stage, constant, STEPS_BEFORE);
  const resident = await watched(stage, penstock, STEPS);
  await stage.delete(MEMORY_OBJECTS);

  const half = Math.max(...resident.slice(0, STEPS / 2));
  const end = Math.max(...resident.slice(STEPS / 2));
  const steps = `after every 10,000: ${resident.join(", ")} MiB; of the constant's before: ${before.join(", ")} MiB`;
  if (end > half + SLACK_MIB) faults.push(`${MEMORY_CASE}: grew from ${half} to ${end} MiB; ${steps}`);
  const after = resident.at(-1) ?? 0;
  const reference = before.at(-1) ?? 0;
  return {
    suite: "read",
    case: MEMORY_CASE,
    peer: constant.name,
    unit: "MiB",
    ours: after,
    theirs: reference,
    ratio: tidy(reference / after, 2),
    oursRange: [Math.min(...resident), Math.max(...resident)],
    theirsRange: [Math.min(...before), Math.max(...before)],
    note: steps,
  };
}

async function watched({ pid }: Stage, server: Server, steps: number): Promise<number[]> {
  const resident: number[] = [];
  for (let step = 0; step < steps; step++) {
    await load(server, MEMORY_STEP, CONNECTIONS);
    resident.push(Math.round(residentMiB(pid)));
  }
  return resident;
}
