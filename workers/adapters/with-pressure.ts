import type { Entry } from "../core/pressure/holding.ts";
import type { Result } from "../core/result.ts";
import type { ObjectBody } from "../ports/object-store.ts";
import type { S3Client, S3Request } from "./s3-client.ts";
import type { Purpose, SourcePressure } from "./source-pressure.ts";

/** Milliseconds between two words of a request that it lives. */
const BEAT_MS = 5000;

/**
 * A store whose every operation is a request that has to be let through. Bytes are charged when they are announced. A
 * connection is in use until the body has ended, was cancelled, or broke; the body is watched only where connections
 * are limited.
 */
export function withPressure<T extends object>(store: T, pressure: SourcePressure, purpose: Purpose): T {
  const limited = Object.entries(store).map(([name, run]) => [
    name,
    limit(run as (...args: unknown[]) => Promise<Result<unknown>>, pressure, purpose),
  ]);
  return Object.fromEntries(limited) as T;
}

/**
 * A client whose every request has to be let through. Charged are the bytes that are sent; a connection is in use until
 * the headers of the answer, which come after them.
 */
export function clientWithPressure(client: S3Client, pressure: SourcePressure, purpose: Purpose): S3Client {
  const limited =
    <R>(run: (request: S3Request) => Promise<Result<R>>) =>
    async (request: S3Request): Promise<Result<R>> => {
      const entered = await enter(pressure, purpose);
      if (!entered.ok) return entered;
      const entry = entered.value;
      const end = hold(entry, pressure);
      try {
        pressure.charge(entry, request.bytes ?? 0);
        const answer = await run(request);
        pressure.hear(entry, answer.ok ? null : answer.failure);
        return answer;
      } finally {
        end();
      }
    };
  return { send: limited(client.send), sendAndRead: limited(client.sendAndRead) };
}

function limit(
  run: (...args: unknown[]) => Promise<Result<unknown>>,
  pressure: SourcePressure,
  purpose: Purpose,
): (...args: unknown[]) => Promise<Result<unknown>> {
  return async (...args) => {
    const entered = await enter(pressure, purpose);
    if (!entered.ok) return entered;
    const entry = entered.value;
    const end = hold(entry, pressure);
    let isOpen = false;
    try {
      const answer = await run(...args);
      pressure.hear(entry, answer.ok ? null : answer.failure);
      if (!answer.ok || !hasBody(answer.value)) return answer;
      pressure.charge(entry, answer.value.length);
      if (!pressure.holds(entry)) return answer;
      isOpen = true;
      return { ok: true, value: { ...answer.value, body: watched(answer.value, end) } };
    } finally {
      if (!isOpen) end();
    }
  };
}

async function enter(pressure: SourcePressure, purpose: Purpose): Promise<Result<Entry>> {
  const entry = pressure.enter(purpose);
  return entry === null ? pressure.wait(purpose) : { ok: true, value: entry };
}

/**
 * Says again and again that the request lives, until it is ended by what is returned. The timers of a request that is cut
 * off die with it, whereas its `finally` is never run.
 */
function hold(entry: Entry, pressure: SourcePressure): () => void {
  const beat = pressure.holds(entry) ? setInterval(() => pressure.touch(entry), BEAT_MS) : null;
  return () => {
    if (beat !== null) clearInterval(beat);
    pressure.release(entry);
  };
}

const hasBody = (value: unknown): value is ObjectBody =>
  typeof value === "object" && value !== null && "body" in value && value.body instanceof ReadableStream;

/** The same bytes, passed on by the runtime and not by us; the connection is free when there are no more. */
function watched({ body, length }: ObjectBody, end: () => void): ReadableStream<Uint8Array> {
  const { readable, writable } = new FixedLengthStream(length);
  void body
    .pipeTo(writable)
    .catch(() => undefined) // Whoever reads is told by the stream itself.
    .finally(end);
  return readable;
}
