/** The bucket of a test file at the shared S3 endpoint, which is its alone: what one leaves behind no other lists. */
export function bucketOf(testPath: string): string {
  const [kind = "", ...rest] = testPath.replace(/^.*\/test\//, "").split("/");
  return `${kind}-${rest.join("-")}`.replace(/\.test\.ts$/, "").toLowerCase();
}
