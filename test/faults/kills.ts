/**
 * The runtime is killed (SIGKILL) at random moments of migrations, and started again on what it had stored. Queues are
 * in memory: each kill loses every message, and with the default threshold of 1,200 s the run would be silent that long;
 * here it is 3 s. Nobody calls the runs back: after a restart the Migration objects' own alarms ring.
 */
import type { Checks } from "../harness/checks.ts";
import { followMigration, type Migration } from "../harness/client.ts";
import { randomFrom } from "../harness/chance.ts";
import { startFaultProxy } from "../harness/fault-proxy.ts";
import { sleep } from "../harness/instance.ts";
import type { Source } from "../harness/local-source.ts";
import { fill, largeObjects, objectOf, PART_BYTES, smallObjects, type Stored } from "./objects.ts";
import { createRuntime, type Runtime } from "./runtime.ts";
import { type Owed, verifyCounts, verifyLeftovers, verifyObjects } from "./verify.ts";

const KILLS = 50;
const DATASET = "kills";
const PREFIX = `${DATASET}/`;
const SMALL = 500;
const SILENCE_SECONDS = 3;
/** What the source takes to answer: a run then lasts long enough to be killed often, and is always at work. */
const LATENCY_MS = 40;
/** Three kills of four come so long, at most, after the source was asked again: into the work. */
const WORK_MAX_MS = 1500;
/** The others come so long after the start of the process: into its starting, and into the silence. */
const IDLE_MAX_MS = 3000;
const ENDS_WITHIN_MS = 600_000;

export async function checkKills(checks: Checks, source: Source, seed: number): Promise<void> {
  await checks.section(`kills: the runtime is killed at ${KILLS} random moments, and started again`, async () => {
    let requests = 0;
    const proxy = await startFaultProxy(source, async () => {
      requests += 1;
      await sleep(LATENCY_MS);
      return null;
    });
    const runtime = await createRuntime({
      name: DATASET,
      sources: { [DATASET]: { ...source, endpoint: `${proxy.url}/pages-of-20` } },
      vars: { SILENCE_SECONDS, PART_BYTES, MULTIPART_THRESHOLD_BYTES: PART_BYTES },
    });
    try {
      await killed(checks, runtime, source, randomFrom(seed), () => requests);
    } finally {
      await runtime.kill();
      await proxy.stop();
    }
  });
}

async function killed(
  checks: Checks,
  runtime: Runtime,
  source: Source,
  chance: () => number,
  requests: () => number,
): Promise<void> {
  const runs = await begin(runtime, source, chance);
  const moments: string[] = [];
  let atWork = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const before = requests();
    // In the first process the first run was started.
    const isUp = kill === 0 ? Promise.resolve() : runtime.start();
    if (chance() < 0.75) {
      await isUp;
      await until(() => requests() > before, 1000 * (SILENCE_SECONDS + 5), runs);
      await until(() => false, chance() * WORK_MAX_MS, runs);
      atWork += requests() > before ? 1 : 0;
    } else await sleep(chance() * IDLE_MAX_MS);
    await runtime.kill();
    runtime.prepare();
    moments.push(runs.moment());
  }
  checks.note(`${atWork} kills hit a run at work; so much was copied, by run: ${moments.join(" ")}`);

  await runtime.start();
  const before = requests();
  await until(() => requests() > before, ENDS_WITHIN_MS, null);
  checks.that("a run goes on after a restart though nobody asks for it", requests() > before);

  await runs.finish();
  for (const [i, { status, owed }] of runs.ended.entries()) verifyCounts(checks, `run ${i + 1}`, status, owed);
  const last = runs.ended.at(-1);
  if (last === undefined) throw new Error("No run has ended.");
  await verifyObjects(checks, runtime, last.owed);
  await runtime.kill();
  verifyLeftovers(checks, runtime, KILLS);
}

/** Waits for something, and no longer than `ms`; meanwhile the runs are looked after. */
async function until(holds: () => boolean, ms: number, runs: Runs | null): Promise<void> {
  const end = Date.now() + ms;
  while (!holds() && Date.now() < end) {
    await runs?.look();
    await sleep(Math.min(100, Math.max(1, end - Date.now())));
  }
}

interface Runs {
  readonly ended: { status: Migration; owed: Owed }[];
  /** Where a run has ended, the source is changed and the next one is started: there is always one to be killed. */
  look(): Promise<void>;
  /** How far the last run was, when it was looked at. */
  moment(): string;
  finish(): Promise<void>;
}

async function begin({ start, admin }: Runtime, source: Source, chance: () => number): Promise<Runs> {
  let objects: ReadonlyMap<string, Stored> = await fill(source, PREFIX, [
    ...smallObjects(SMALL, chance),
    ...largeObjects(chance),
  ]);
  let copied = objects.size;
  const ended: Runs["ended"] = [];
  const post = () => admin.call<Migration>("POST", "/v1/migrations", { dataset: DATASET });
  const close = (status: Migration) => {
    ended.push({ status, owed: { dataset: DATASET, prefix: PREFIX, objects, copied } });
  };

  await start();
  const place = { kind: "files", prefix: PREFIX, source: { name: DATASET, prefix: PREFIX } };
  await admin.call("PUT", `/v1/datasets/${DATASET}`, place);
  let run = await post();
  return {
    ended,
    async look() {
      run = await admin.call<Migration>("GET", `/v1/migrations/${run.id}`);
      if (run.state !== "done" && run.state !== "failed") return;
      close(run);
      const changes = await change(source, objects, chance);
      objects = new Map([...objects, ...changes]);
      copied = changes.size;
      run = await post();
    },
    moment: () => `${ended.length + 1}:${Math.floor((100 * run.copied.objects) / copied)}%`,
    async finish() {
      close(await followMigration(admin, run.id, { timeoutMs: ENDS_WITHIN_MS }));
    },
  };
}

/** Every second small object is another, a hundred are new, and so is one in parts. */
function change(
  source: Source,
  objects: ReadonlyMap<string, Stored>,
  chance: () => number,
): Promise<Map<string, Stored>> {
  const others = [...objects]
    .filter(([key]) => key.startsWith("c/") && chance() < 0.5)
    .map(([key, { bytes }]) => objectOf(key, bytes.length + 1, chance));
  const added = Array.from({ length: 100 }, (_, n) => objectOf(`c/${objects.size}-${n}`, 500 + n, chance));
  return fill(source, PREFIX, [...others, ...added, ...largeObjects(chance, `-${objects.size}`)]);
}
