import { configOf } from "./adapters/config.ts";
import { markBusy } from "./adapters/mark-busy.ts";
import { datasetOf, directoryOf, jobOf, migrationOf } from "./adapters/objects.ts";
import { nextTick } from "./adapters/schedule.ts";
import { startMigration } from "./adapters/start-migration.ts";

/**
 * One tick: starts an incremental migration of each dataset whose schedule has fallen due since it was last started,
 * however many ticks were missed, and a walk through each bucket that is to be walked again, and re-arms what is running. A
 * tick with nothing due writes nothing.
 */
export async function tick(now: number, env: Env): Promise<void> {
  const config = configOf(env);
  if (!config.ok) {
    console.error(JSON.stringify({ message: "cron cannot run", ...config.failure }));
    return;
  }
  const directory = directoryOf(env);
  for (const { name, schedule, tickedAt } of await directory.schedules()) {
    const due = nextTick(schedule, tickedAt);
    if (due === null || due > now) continue;
    await attempt({ dataset: name }, async () => {
      const started = await startMigration(env, config.value, name);
      const line = { message: "schedule due", dataset: name };
      if (started.ok) console.log(JSON.stringify({ ...line, migration: started.value.id }));
      else console.warn(JSON.stringify({ ...line, ...started.failure }));
      // A dataset whose migration still runs stays due, and is caught up once when that has ended.
      if (started.ok || started.failure.code !== "migration-running") await directory.ticked(name, now);
    });
  }
  for (const name of await directory.walksDue(now)) {
    await attempt({ dataset: name }, async () => {
      await directory.askWalk(name, now, await datasetOf(env, name).walkWhenDue(now));
    });
  }
  for (const { kind, name } of await directory.running()) {
    await attempt({ [kind]: name }, () => {
      if (kind === "dataset") return rearmDataset(env, name);
      return (kind === "migration" ? migrationOf(env, name) : jobOf(env, name)).rearm();
    });
  }
}

/** Who begins work marks its dataset after that: where none is left, it is asked once more when the mark is gone. */
async function rearmDataset(env: Env, name: string): Promise<void> {
  const dataset = datasetOf(env, name);
  if (await dataset.rearm()) return;
  await directoryOf(env).setState("dataset", name, "active");
  if (await dataset.rearm()) await markBusy(env, name);
}

/** What fails for one does not keep the others waiting. */
async function attempt(whom: Record<string, string>, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    console.error(JSON.stringify({ message: "cron failed", ...whom, error: String(error) }));
  }
}
