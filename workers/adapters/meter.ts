import { ANALYTICS_MAX_POINTS, CONNECTIONS_MAX, METER_FLUSH_DEFAULT_SECONDS } from "../core/limits.ts";
import { type Delta, ReadCounts, type Unreported } from "../core/metering/read-counts.ts";
import { type ReadEvent, TALLY_FIELDS } from "../core/metering/tally.ts";
import { configOf } from "./config.ts";
import { forEachLimited } from "./for-each-limited.ts";
import { jobOf } from "./objects.ts";

/** Seconds after which a report that failed is tried once more, before it waits for the next read. */
const RETRY_SECONDS = 3;
/** Milliseconds between the reports of a meter that has too many jobs to wait for the interval. */
const CROWDED_MS = 1000;

interface Timer {
  /** When it reports, milliseconds since 1970. */
  firesAt: number;
  /** When it has died with the request that owned it. */
  overdueAt: number;
}

/**
 * Counts the reads of an isolate, and reports them in the background: cumulative readings to the Durable Objects of
 * jobs, differences to Analytics Engine.
 *
 * The first read after a report starts a timer in its own `waitUntil`, so what is counted is reported within an
 * interval, whether or not another read comes. A timer and what it awaits belong to the request that started it: other
 * requests only look at the time it is due, and when it is long overdue one of them starts another. Two reports may then
 * run at once, which is safe, for readings are cumulative and differences are taken before the first await.
 */
export class Meter {
  readonly #counts = new ReadCounts(() => crypto.randomUUID(), logGivenUp);
  #timer: Timer | null = null;

  /** Counts a read. Returns at once, and waits for nothing. */
  count(env: Env, event: ReadEvent, waitUntil: (work: Promise<unknown>) => void): void {
    const now = Date.now();
    this.#counts.count(event, now);
    const timer = this.#timer;
    const hurries = this.#counts.isCrowded && (timer?.firesAt ?? 0) > now + CROWDED_MS;
    if (timer === null || hurries || now >= timer.overdueAt) this.#start(env, now, waitUntil);
  }

  #start(env: Env, now: number, waitUntil: (work: Promise<unknown>) => void): void {
    const config = configOf(env);
    const intervalMs = (config.ok ? config.value.meterFlushSeconds : METER_FLUSH_DEFAULT_SECONDS) * 1000;
    const delayMs = this.#counts.isCrowded ? CROWDED_MS : intervalMs;
    const timer = { firesAt: now + delayMs, overdueAt: now + 3 * intervalMs };
    this.#timer = timer;
    waitUntil(this.#flushAfter(env, timer, delayMs));
  }

  async #flushAfter(env: Env, timer: Timer, delayMs: number): Promise<void> {
    await sleep(delayMs);
    // From here on a read starts the next timer: it may come too late for this report.
    if (this.#timer === timer) this.#timer = null;
    if (await this.flush(env)) return;
    await sleep(RETRY_SECONDS * 1000);
    await this.#reportToJobs(env);
  }

  /** Reports what is counted. Never throws; false where a job could not be told, whose counts are then kept. */
  async flush(env: Env): Promise<boolean> {
    this.#writeToAnalytics(env);
    const told = await this.#reportToJobs(env);
    this.#counts.forget(Date.now());
    return told;
  }

  #writeToAnalytics(env: Env): void {
    // Tests and installations may be without the binding.
    const reads = env.READS as AnalyticsEngineDataset | undefined;
    for (const delta of this.#counts.take(ANALYTICS_MAX_POINTS)) {
      try {
        reads?.writeDataPoint(dataPointOf(delta));
      } catch (error) {
        console.error(JSON.stringify({ message: "reads not written", ...delta, error: String(error) }));
      }
    }
  }

  async #reportToJobs(env: Env): Promise<boolean> {
    let told = true;
    await forEachLimited(this.#counts.unreported(Date.now()), CONNECTIONS_MAX, async (unreported: Unreported) => {
      try {
        // A job that is not there is no reason to try again: the answer is not looked at.
        await jobOf(env, unreported.job).recordReading(unreported.reading);
        this.#counts.acknowledge(unreported, Date.now());
      } catch (error) {
        told = false;
        console.error(JSON.stringify({ message: "reads not reported", job: unreported.job, error: String(error) }));
      }
    });
    return told;
  }
}

const meter = new Meter();

/** Counts one answer of the data plane, in this isolate; it is reported later, from `waitUntil`. */
export function meterRead(env: Env, event: ReadEvent, waitUntil: (work: Promise<unknown>) => void): void {
  meter.count(env, event, waitUntil);
}

/** The sampling key is the dataset; the README has the SQL that reads it. */
const dataPointOf = ({ datasetId, datasetName, job, tally }: Delta): AnalyticsEngineDataPoint => ({
  indexes: [datasetId],
  blobs: [datasetName, job ?? ""],
  doubles: TALLY_FIELDS.map((field) => tally[field]),
});

function logGivenUp(lost: Delta): void {
  console.error(JSON.stringify({ message: "reads given up", ...lost }));
}

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
