import type { Failure } from "./failure.ts";

/** What an operation that may fail returns: the value, or one failure of the closed vocabulary. Nothing throws for these. */
export type Result<T> = { ok: true; value: T } | { ok: false; failure: Failure };

export const ok = <T>(value: T): Result<T> => ({ ok: true, value });

export const fail = (failure: Failure): { ok: false; failure: Failure } => ({ ok: false, failure });
