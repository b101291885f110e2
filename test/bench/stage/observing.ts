/**
 * The Worker that is counted is the one that is deployed, with everything around it that costs money wrapped: what its own
 * `operations` say is checked against what was called. Runs in workerd; the types are structural, for this folder is
 * checked with Node's.
 */

/** Queues bill an operation for each 64 KB of a message (Queues pricing). */
const BILLED_BYTES = 64_000;

/** By name: `r2.put`, `queue.write`, `rows.Migration`, `source.list` and the like. */
export type Counts = Record<string, number>;

interface State {
  storage: {
    sql: { exec(query: string, ...bound: unknown[]): { rowsWritten: number } };
    setAlarm(...args: unknown[]): Promise<void>;
  };
}
type Bindings = Record<string, unknown>;
type ObjectClass = new (state: State, env: Bindings) => object;

interface Message {
  readonly id: string;
  readonly timestamp: Date;
  readonly body: unknown;
  readonly attempts: number;
  ack(): void;
  retry(options?: object): void;
}
interface Batch {
  readonly queue: string;
  readonly messages: readonly Message[];
}
interface Handlers {
  fetch(request: Request, env: Bindings, context: unknown): Response | Promise<Response>;
  queue(batch: Batch, env: Bindings, context: unknown): Promise<void>;
}

/** `GET /__counts` answers the counts since it was last asked. */
export function createObserver({ buckets, queues }: Record<"buckets" | "queues", readonly string[]>) {
  // One isolate holds the Worker and all of its objects.
  let counts: Counts = {};
  const count = (name: string, by = 1) => {
    counts[name] = (counts[name] ?? 0) + by;
  };
  countFetches(count);

  // One object an isolate, as the runtime has it: the Worker keeps what it read from `env` by its identity.
  const wrapped = new WeakMap<Bindings, Bindings>();
  const wrap = (env: Bindings): Bindings => {
    const known = wrapped.get(env);
    if (known !== undefined) return known;
    const counted = { ...env };
    for (const name of buckets) counted[name] = countBucket(env[name] as object, count);
    for (const name of queues) counted[name] = countSends(env[name] as object, count);
    wrapped.set(env, counted);
    return counted;
  };

  return {
    observeWorker: (worker: Handlers): Handlers => ({
      ...worker,
      fetch(request, env, context) {
        if (!request.url.endsWith("/__counts")) return worker.fetch(request, wrap(env), context);
        const answer = Response.json(counts);
        counts = {};
        return answer;
      },
      queue: (batch, env, context) => worker.queue(countSettling(batch, count), wrap(env), context),
    }),

    observeObject: (name: string, Base: ObjectClass): ObjectClass =>
      class extends Base {
        constructor(state: State, env: Bindings) {
          countWrites(state, (rows) => count(`rows.${name}`, rows));
          super(state, wrap(env));
        }
      },
  };
}

type Count = (name: string, by?: number) => void;

/** Rows as SQLite reports them; an alarm that is set is billed as one, too (Durable Objects pricing). */
function countWrites({ storage }: State, count: (rows: number) => void): void {
  const { sql } = storage;
  const exec = sql.exec.bind(sql);
  // What a statement writes is written before its first row comes back.
  sql.exec = (...args) => {
    const cursor = exec(...args);
    if (cursor.rowsWritten > 0) count(cursor.rowsWritten);
    return cursor;
  };
  const setAlarm = storage.setAlarm.bind(storage);
  storage.setAlarm = (...args) => {
    count(1);
    return setAlarm(...args);
  };
}

type Methods = Record<PropertyKey, unknown>;

/** Calls `seen` with each method's name and its answer; the target itself answers, as the runtime insists. */
function watch(target: object, seen: (name: string, args: unknown[], answer: unknown) => unknown): object {
  return new Proxy(target, {
    get(_, property) {
      const value = (target as Methods)[property];
      if (typeof value !== "function" || typeof property !== "string") return value;
      return (...args: unknown[]) => seen(property, args, Reflect.apply(value, target, args));
    },
  });
}

/** Every method of a bucket and of its uploads, by name. */
function countBucket(bucket: object, count: Count): object {
  const upload = (answer: object) =>
    watch(answer, (name, _, done) => {
      count(`r2.${name}`);
      return done;
    });
  return watch(bucket, (name, _, answer) => {
    if (name === "resumeMultipartUpload") return upload(answer as object);
    count(`r2.${name}`);
    return name === "createMultipartUpload" ? (answer as Promise<object>).then(upload) : answer;
  });
}

function countSends(queue: object, count: Count): object {
  return watch(queue, (name, [first], answer) => {
    if (name === "send") count("queue.write", billed(first));
    if (name === "sendBatch") {
      for (const { body } of first as Iterable<{ body: unknown }>) count("queue.write", billed(body));
    }
    return answer;
  });
}

/** Each delivery is a read, each acknowledgement a delete. */
function countSettling(batch: Batch, count: Count): Batch {
  return {
    queue: batch.queue,
    messages: batch.messages.map((message) => {
      count("queue.read", billed(message.body));
      return {
        id: message.id,
        timestamp: message.timestamp,
        body: message.body,
        attempts: message.attempts,
        ack() {
          count("queue.delete", billed(message.body));
          message.ack();
        },
        retry(options) {
          count("queue.retry");
          message.retry(options);
        },
      };
    }),
  };
}

const billed = (body: unknown): number =>
  Math.ceil(new TextEncoder().encode(JSON.stringify(body)).length / BILLED_BYTES);

/** Requests to a source: nothing else is fetched by URL. */
function countFetches(count: Count): void {
  const original = globalThis.fetch;
  globalThis.fetch = (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    count(url.includes("list-type=") ? "source.list" : "source.get");
    return original(input, init);
  };
}
