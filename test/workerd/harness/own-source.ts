import { expect, inject } from "vitest";
import { bucketOf } from "../../harness/bucket-of.ts";
import type { Source } from "../../harness/local-source.ts";

/** The real S3 endpoint beside the tests, with the bucket that is this test file's alone. */
export function ownSource(): Source {
  const { testPath } = expect.getState();
  if (testPath === undefined) throw new Error("Only a test file has a bucket at the source.");
  return { ...inject("source"), bucket: bucketOf(testPath) };
}
