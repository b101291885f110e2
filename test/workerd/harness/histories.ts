import { env } from "cloudflare:workers";
import { type SentManifestMessage, sentRows } from "../../../workers/core/migration/message.ts";
import { rowOfPut } from "../../harness/rows.ts";
import { handOver, notification } from "./notify.ts";

/** Consumers of one history that are at work at once. */
const CONSUMERS_MAX = 3;
/** Few contents, so that the same bytes are put again, and of sizes that differ. */
const CONTENTS = ["a", "bb"];

/** A bucket in memory: of R2 a history needs no more than that a look comes before or after a change. */
export class HistoryBucket {
  readonly #objects = new Map<string, R2Object>();

  put(key: string, content: string): R2Object {
    const object = {
      ...{ key, size: content.length, etag: `etag-of-${content}`, uploaded: new Date(0), checksums: {} },
      ...{ httpMetadata: {}, customMetadata: {} },
    } as unknown as R2Object;
    this.#objects.set(key, object);
    return object;
  }

  delete(key: string): void {
    this.#objects.delete(key);
  }

  head(key: string): R2Object | null {
    return this.#objects.get(key) ?? null;
  }

  get objects(): Iterable<R2Object> {
    return this.#objects.values();
  }
}

/** An environment that consumers use one after the other: an isolate knows its configuration by it. */
export class Seat {
  consumer: Consumer | null = null;
  readonly env: Env;

  constructor(look: (consumer: Consumer, key: string) => Promise<R2Object | null>) {
    const head = async (key: string) => (this.consumer === null ? null : look(this.consumer, key));
    const bucket = { head, createMultipartUpload: () => Promise.reject(new Error("Nothing is put by a consumer.")) };
    this.env = { ...env, DATASETS: bucket as unknown as R2Bucket };
  }
}

/** A consumer at work: it stops after each look at R2, and before some, until it is let go on. */
class Consumer {
  readonly #gates: (() => void)[] = [];
  #looks = 0;
  #hasEnded = false;
  #noticed: () => void = () => undefined;
  readonly #answer: (key: string) => R2Object | null;
  readonly #dice: () => number;

  /** @param answer what a look at R2 sees, or throws */
  constructor(answer: (key: string) => R2Object | null, dice: () => number) {
    this.#answer = answer;
    this.#dice = dice;
  }

  get isStopped(): boolean {
    return this.#gates.length > 0;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  async look(key: string): Promise<R2Object | null> {
    this.#looks += 1;
    try {
      if (this.#dice() < 0.2) await this.#stop();
      const seen = this.#answer(key);
      await this.#stop();
      return seen;
    } finally {
      this.#looks -= 1;
      this.#noticed();
    }
  }

  #stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#gates.push(resolve);
      this.#noticed();
    });
  }

  end(): void {
    this.#hasEnded = true;
    this.#noticed();
  }

  /** Lets it go on from one of the places where it waits. */
  release(): void {
    const [gate] = this.#gates.splice(Math.floor(this.#dice() * this.#gates.length), 1);
    gate?.();
  }

  /** Ends when it goes no further by itself: each history is then the same each time. */
  async settled(): Promise<void> {
    while (!this.#hasEnded && !(this.isStopped && this.#gates.length === this.#looks)) {
      await new Promise<void>((resolve) => {
        this.#noticed = resolve;
      });
    }
  }
}

/** Where histories play: a dataset, its bucket, and seats that are free. */
export interface Stage {
  dataset: string;
  bucket: HistoryBucket;
  seats: Seat[];
}

/**
 * A history of two keys in the bucket: puts of ours, whose rows are told, puts and deletions of strangers, of which R2
 * notifies, and some of ours of which it notifies as well. Whatever is told is told once, twice or thrice, in any order, to
 * consumers who interleave, and some of whom die. Ends when all was told.
 */
export async function playHistory({ dataset, bucket, seats }: Stage, name: string, dice: () => number): Promise<void> {
  const pending: unknown[] = [];
  const working: Consumer[] = [];
  const pick = <T>(some: readonly T[]): T => some[Math.floor(dice() * some.length)] as T;
  const left = { events: 3 + Math.floor(dice() * 3), deaths: 2 };

  const happen = () => {
    const key = `${name}/${pick(["x", "x", "x", "x", "x", "y"])}`;
    const whole = `${dataset}/${key}`;
    let message: unknown;
    if (dice() < 0.15) {
      bucket.delete(whole);
      message = notification(whole, null);
    } else {
      const put = bucket.put(whole, pick(CONTENTS));
      const isOurs = dice() < 0.35;
      message = isOurs ? rowsOf(dataset, key, put) : notification(whole, put.etag);
      if (isOurs && dice() < 0.3) pending.push(notification(whole, put.etag));
    }
    for (let copies = pick([1, 1, 1, 1, 1, 1, 2, 3]); copies > 0; copies--) pending.push(message);
  };

  const begin = async () => {
    const consumer = new Consumer((key) => {
      if (left.deaths === 0 || dice() > 0.1) return bucket.head(key);
      left.deaths -= 1;
      throw new Error("internal (10001)");
    }, dice);
    const seat = seats.pop() ?? new Seat((of, key) => of.look(key));
    seat.consumer = consumer;
    const batch = Array.from({ length: dice() < 0.7 ? 1 : 2 }, () =>
      pending.splice(Math.floor(dice() * pending.length), 1),
    ).flat();
    working.push(consumer);
    const work = async () => {
      const answers = await handOver(batch, seat.env);
      pending.push(...batch.filter((_, index) => answers[index] === "retry"));
      seats.push(seat);
      consumer.end();
    };
    void work();
    await consumer.settled();
  };

  while (left.events > 0 || pending.length > 0 || working.length > 0) {
    const actions: (() => Promise<void>)[] = [];
    if (left.events > 0) {
      const event = async () => {
        left.events -= 1;
        happen();
      };
      actions.push(event, event);
    }
    // What is told while another looks is what can go wrong.
    if (pending.length > 0 && working.length < CONSUMERS_MAX) actions.push(begin, begin, begin);
    if (working.length > 0) {
      actions.push(async () => {
        const consumer = pick(working);
        consumer.release();
        await consumer.settled();
      });
    }
    await pick(actions)();
    for (const consumer of working.filter(({ hasEnded }) => hasEnded)) working.splice(working.indexOf(consumer), 1);
  }
}

const rowsOf = (dataset: string, key: string, put: R2Object): SentManifestMessage => ({
  ...{ v: 1, type: "rows", seq: 1, dataset, datasetId: `ds_${dataset}` },
  sender: { kind: "migration", id: "mig_history" },
  ...sentRows([rowOfPut(key, put, { proof: "md5", writer: "mig_history" })]),
});
