/**
 * What is too short to be timed over HTTP, and what HTTP has no route for: many operations a request, beside the Worker's
 * own routes, in its isolate. Runs in workerd, where timers stand still while it computes: whoever asks has the clock. The
 * types are structural, for this folder is checked with Node's.
 */
import type { Row } from "../../../workers/core/manifest/row.ts";
import type { SealedFile, SealedIndex } from "../../../workers/core/manifest/version.ts";
import type { Result } from "../../../workers/core/result.ts";
import type { VersionResolver } from "../../../workers/ports/version-resolver.ts";
import { ParquetLookup, type RangedBucket } from "./parquet-lookup.ts";
import { BATCH_ROWS, changesOf, rowAt } from "./rows.ts";

/** A dataset, and how often something is to be done with it. */
interface Order {
  readonly name: string;
  readonly id: string;
}
/** What is asked of `POST /__drive/<operation>`. */
export interface Orders {
  /** Writes rows `from` to before `upTo` of a corpus of so many, in calls of a thousand. */
  apply: Order & { from: number; upTo: number; rows: number };
  change: Order & { rows: number };
  /** `Dataset.remember([key])`, a call for each. */
  remember: Order & { keys: readonly string[]; times: number };
  /** A call that does next to nothing. */
  call: Order & { times: number };
  index: Order & { version: number };
  /** `findSealed(...)` and `resolve(key)`, as for each read of the gateway. */
  resolve: Order & { version: number; keys: readonly string[]; times: number };
  /** The same looked for in the version's Parquet files. `isWarm`: what was read before is held. */
  parquet: Order & { version: number; keys: readonly string[]; times: number; isWarm: boolean };
}
/** Objects found or written, or what was asked for. */
export type Answers = { [Name in keyof Orders]: Name extends "index" ? SealedIndex : number };

interface Question {
  key: string;
  generation: number;
}
interface Dataset {
  applyRows(id: string, rows: Row[]): Promise<Result<{ written: number; questions: unknown[] }>>;
  place(keys: readonly string[], place: { stage: string; category: string }): Promise<Result<{ changed: number }>>;
  hint(id: string, hints: readonly { key: string; etag: null }[]): Promise<Result<{ questions: Question[] }>>;
  answerRows(id: string, answers: readonly (Question & { row: null })[]): Promise<Result<{ removed: number }>>;
  remember(keys: readonly string[]): Promise<unknown[]>;
  heldMigration(): Promise<unknown>;
  sealedIndex(id: string, version: number): Promise<Result<SealedIndex>>;
  version(name: { kind: "number"; number: number }): Promise<Result<{ files: SealedFile[] }>>;
}
interface Bindings {
  DATASET: { getByName(name: string): Dataset };
  SYSTEM: RangedBucket;
}
interface Context {
  waitUntil(work: Promise<unknown>): void;
}
interface Handlers {
  fetch(request: Request, env: Bindings, context: Context): Response | Promise<Response>;
}
type FindSealed = (
  env: Bindings,
  dataset: Order,
  version: string,
  waitUntil: (work: Promise<unknown>) => void,
) => Promise<Result<VersionResolver>>;

const PATH = "/__drive/";

/** Wraps a Worker: it takes orders beside its own routes. */
export function driven<W extends Handlers>(worker: W, findSealed: FindSealed): W {
  const held = new Map<string, ParquetLookup>();
  const operations: {
    [Name in keyof Orders]: (order: Orders[Name], env: Bindings, context: Context) => Promise<Answers[Name]>;
  } = {
    async apply({ name, id, from, upTo, rows }, env) {
      let written = 0;
      for (let start = from; start < upTo; start += BATCH_ROWS) {
        const batch = Array.from({ length: Math.min(BATCH_ROWS, upTo - start) }, (_, at) => rowAt(start + at, rows));
        written += value(await env.DATASET.getByName(name).applyRows(id, batch)).written;
      }
      return written;
    },
    async change({ name, id, rows }, env) {
      const dataset = env.DATASET.getByName(name);
      const { added, placed, removed } = changesOf(rows);
      const { written } = value(await dataset.applyRows(id, [...added]));
      const { changed } = value(await dataset.place(placed, { stage: "raw", category: "moved" }));
      // As a deletion is told: by a hint, and by what R2 has there after it, which is nothing.
      const gone = removed.map((key) => ({ key, etag: null }));
      const { questions } = value(await dataset.hint(id, gone));
      const answers = questions.map((question) => ({ ...question, row: null }));
      const answered = value(await dataset.answerRows(id, answers));
      return written + changed + answered.removed;
    },
    async remember({ name, keys, times }, env) {
      let found = 0;
      const dataset = env.DATASET.getByName(name);
      for (let at = 0; at < times; at++) found += (await dataset.remember([nth(keys, at)])).length;
      return found;
    },
    async call({ name, times }, env) {
      const dataset = env.DATASET.getByName(name);
      for (let at = 0; at < times; at++) await dataset.heldMigration();
      return times;
    },
    async index({ name, id, version }, env) {
      return value(await env.DATASET.getByName(name).sealedIndex(id, version));
    },
    async resolve({ name, id, version, keys, times }, env, context) {
      let found = 0;
      for (let at = 0; at < times; at++) {
        const opened = value(await findSealed(env, { name, id }, String(version), (work) => context.waitUntil(work)));
        const object = await opened.resolve(nth(keys, at));
        if (object.ok) found++;
        else if (object.failure.code !== "object-not-found") throw new Error(JSON.stringify(object.failure));
      }
      return found;
    },
    async parquet({ name, version, keys, times, isWarm }, env) {
      const { files } = value(await env.DATASET.getByName(name).version({ kind: "number", number: version }));
      const kept = held.get(`${name}@${version}`) ?? new ParquetLookup(env.SYSTEM, files);
      if (isWarm) held.set(`${name}@${version}`, kept);
      let found = 0;
      for (let at = 0; at < times; at++) {
        const lookup = isWarm ? kept : new ParquetLookup(env.SYSTEM, files);
        if ((await lookup.find(nth(keys, at))) !== null) found++;
      }
      return found;
    },
  };
  const run = operations as Record<string, (order: unknown, env: Bindings, context: Context) => Promise<unknown>>;
  return {
    ...worker,
    async fetch(request: Request, env: Bindings, context: Context): Promise<Response> {
      const { pathname } = new URL(request.url);
      const operation = pathname.startsWith(PATH) ? run[pathname.slice(PATH.length)] : undefined;
      if (operation === undefined) return worker.fetch(request, env, context);
      return Response.json(await operation(await request.json(), env, context));
    },
  };
}

const nth = (keys: readonly string[], at: number): string => keys[at % keys.length] ?? "";

function value<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(JSON.stringify(result.failure));
  return result.value;
}
