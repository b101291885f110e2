const encoder = new TextEncoder();

/**
 * Cuts prefixes and keys, in their order, into runs that each fit one capability: of so many scopes, and of so many bytes as
 * its claims write them. A scope that alone is longer is a run of its own.
 */
export function* scopeBatches(
  scopes: Iterable<string>,
  most: { readonly scopes: number; readonly bytes: number },
): Generator<string[]> {
  let batch: string[] = [];
  let bytes = 0;
  for (const scope of scopes) {
    const size = encoder.encode(JSON.stringify(scope)).length + 1;
    if (batch.length > 0 && (batch.length >= most.scopes || bytes + size > most.bytes)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(scope);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}
