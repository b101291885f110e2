import { type Failure, failure } from "../core/failure.ts";

/** Only "live" is there as yet; `field` is where the caller named another version. */
export const unknownVersion = (name: string, version: string, field: string): Failure =>
  failure("unknown-version", `Dataset "${name}" has no version ${version}; it has only "live" as yet.`, { field });
