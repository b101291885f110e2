import { directoryOf } from "./objects.ts";

/**
 * Has the cron look after a dataset until its work is done: should its alarm be lost, nobody else would set it again. To be
 * called once the work has begun.
 */
export async function markBusy(env: Env, name: string): Promise<void> {
  await directoryOf(env).setState("dataset", name, "running");
}
