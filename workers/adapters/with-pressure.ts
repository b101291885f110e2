import type { Entry } from "../core/pressure/holding.ts";
import type { Result } from "../core/result.ts";
import type { ObjectBody } from "../ports/object-store.ts";
import type { Purpose, SourcePressure } from "./source-pressure.ts";

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

function limit(
  run: (...args: unknown[]) => Promise<Result<unknown>>,
  pressure: SourcePressure,
  purpose: Purpose,
): (...args: unknown[]) => Promise<Result<unknown>> {
  return async (...args) => {
    let entry = pressure.enter(purpose);
    if (entry === null) {
      const waited = await pressure.wait(purpose);
      if (!waited.ok) return waited;
      entry = waited.value;
    }
    let isOpen = false;
    try {
      const answer = await run(...args);
      pressure.hear(entry, answer.ok ? null : answer.failure);
      if (!answer.ok || !hasBody(answer.value)) return answer;
      pressure.charge(answer.value.length);
      if (!pressure.holds(entry)) return answer;
      isOpen = true;
      return { ok: true, value: { ...answer.value, body: watched(answer.value, entry, pressure) } };
    } finally {
      if (!isOpen) pressure.release(entry);
    }
  };
}

const hasBody = (value: unknown): value is ObjectBody =>
  typeof value === "object" && value !== null && "body" in value && value.body instanceof ReadableStream;

/** The same bytes, passed on by the runtime and not by us; the connection is free when there are no more. */
function watched({ body, length }: ObjectBody, entry: Entry, pressure: SourcePressure): ReadableStream<Uint8Array> {
  const { readable, writable } = new FixedLengthStream(length);
  void body
    .pipeTo(writable)
    .catch(() => undefined) // Whoever reads is told by the stream itself.
    .finally(() => pressure.release(entry));
  return readable;
}
