/** What manifests and diffs must say, by the bytes alone. */
import { createHash } from "node:crypto";

/** An object as its row in a manifest has it. */
export interface Entry {
  key: string;
  size: number;
  etag: string;
  md5: string | null;
  sha256: string | null;
  stage: string | null;
  category: string | null;
}

/** What a manifest must say of these bytes by key, sorted as R2 sorts: by UTF-8. */
export function entriesOf(objects: ReadonlyMap<string, Uint8Array>): Entry[] {
  const entries = [...objects].map(([key, bytes]): Entry => {
    const digest = (name: string) => createHash(name).update(bytes).digest("hex");
    const [md5, sha256] = [digest("md5"), digest("sha256")];
    // By the rules that hold where a dataset has none of its own: <stage>/<category>/..., <category>/...
    const folders = key.split("/").slice(0, -1);
    const stage = ["acquired", "raw", "processed"].includes(folders[0] ?? "") ? (folders.shift() ?? null) : null;
    return { key, size: bytes.length, etag: md5, md5, sha256, stage, category: folders[0] ?? null };
  });
  return entries.sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
}

/** What a diff must say of these two manifests. */
export function changesBetween(before: readonly Entry[], after: readonly Entry[]): object[] {
  const side = (entries: readonly Entry[], key: string) => {
    const found = entries.find((entry) => entry.key === key);
    return found === undefined
      ? null
      : { size: found.size, etag: found.etag, stage: found.stage, category: found.category };
  };
  const keys = [...new Set([...before, ...after].map(({ key }) => key))];
  return keys
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((key) => ({ key, before: side(before, key), after: side(after, key) }))
    .filter((change) => JSON.stringify(change.before) !== JSON.stringify(change.after))
    .map((change) => ({
      change: change.before === null ? "added" : change.after === null ? "removed" : "changed",
      ...change,
    }));
}
