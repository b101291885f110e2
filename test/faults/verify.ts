import type { Checks } from "../harness/checks.ts";
import type { Migration } from "../harness/client.ts";
import type { Stored } from "./objects.ts";
import type { Runtime } from "./runtime.ts";
import { isRecorded, keptMessages, openUploads, viewOf } from "./stored.ts";

const READS_AT_ONCE = 8;

/** What a migration owes. */
export interface Owed {
  dataset: string;
  /** In R2, with its slash. */
  prefix: string;
  /** What the source holds and could be copied, as it was when the run ended. */
  objects: ReadonlyMap<string, Stored>;
  /** Code by key, of what could not. */
  failures?: Readonly<Record<string, string>>;
  /** How many of the objects the run had to copy; the others were there. All, by default. */
  copied?: number;
}

/** The status of a run that has ended: nothing missing, nothing twice. Bytes of a failed object are not known here. */
export function verifyCounts(checks: Checks, run: string, status: Migration, owed: Owed): void {
  const { objects, failures = {}, copied = objects.size } = owed;
  const { state, problem } = status;
  checks.equal(`${run} is done`, { state, problem }, { state: "done", problem: null });
  const found = Object.fromEntries(status.failures.map(({ key, code }) => [key, code]));
  checks.equal("it names what it could not copy, and why", sorted(found), sorted(failures));
  const failed = Object.keys(failures).length;
  const counts = [status.listed.objects, status.copied.objects, status.skipped.objects, status.failed.objects];
  checks.equal("listed, copied, skipped and failed are what was there", counts, [
    objects.size + failed,
    copied,
    objects.size - copied,
    failed,
  ]);
  const bytes = [...objects.values()].reduce((sum, object) => sum + object.bytes.length, 0);
  checks.equal("the bytes copied and skipped are the source's", status.copied.bytes + status.skipped.bytes, bytes);
  const proofs = Object.values(status.proofs).reduce((sum, n) => sum + n, 0);
  checks.equal("each copy has one proof", proofs, copied);
}

/** What is in R2, by its own S3 endpoint, and in the manifest: nothing missing, nothing twice, nothing wrong. */
export async function verifyObjects(checks: Checks, runtime: Runtime, owed: Owed): Promise<void> {
  const { objects, prefix } = owed;
  const r2 = viewOf(runtime.bucket);
  const keys = [...objects.keys()].sort();
  checks.equal(`R2 has its ${keys.length} keys, and no other`, difference(await r2.list(prefix), keys), NONE);

  const wrong: string[] = [];
  const etags = new Map<string, string>();
  const queue = [...objects.values()];
  const worker = async () => {
    for (let object = queue.shift(); object !== undefined; object = queue.shift()) {
      const { key, bytes, headers } = object;
      const found = await r2.get(prefix + key);
      etags.set(key, found.etag);
      if (Buffer.compare(found.bytes, bytes) !== 0) wrong.push(`${key}: other bytes`);
      for (const [name, value] of Object.entries(headers)) {
        const there = found.headers.get(name);
        if (there !== value) wrong.push(`${key}: ${name} is ${there}, not ${value}`);
      }
      for (const [name] of found.headers) {
        if (name.startsWith("x-amz-meta-") && !name.startsWith("x-amz-meta-penstock-") && !(name in headers)) {
          wrong.push(`${key}: ${name} was not at the source`);
        }
      }
      if (found.headers.get("x-amz-meta-penstock-source-etag") !== object.etag) wrong.push(`${key}: not of this ETag`);
    }
  };
  await Promise.all(Array.from({ length: READS_AT_ONCE }, worker));
  checks.equal("every byte and every header is the source's", wrong, []);

  const rows = await manifestOf(runtime, owed.dataset);
  checks.equal("the manifest has a row of each key, once", difference(rows.map(({ key }) => key).sort(), keys), NONE);
  const off = rows.filter(({ key, size, etag }) => size !== objects.get(key)?.bytes.length || etag !== etags.get(key));
  checks.equal("with the size and the ETag that R2 has", off, []);
  const unproved = rows.filter(({ proof }) => proof === null || proof === "size");
  checks.equal("and a proof", unproved, []);
}

/**
 * What nobody sees from outside, when the Worker has ended: no upload is left open, and no message is kept.
 *
 * An upload that R2 has created and whose consumer was killed before it could tell anybody stays open until R2 drops it
 * after seven days: the binding cannot list uploads. It has no parts and is in nobody's books; `mayBeKilled` lets as
 * many of these be as there were kills, and says how many there are.
 */
export function verifyLeftovers(checks: Checks, runtime: Runtime, kills: number): void {
  const open = openUploads(runtime.folder);
  const unknown = open.filter(({ uploadId, parts }) => parts === 0 && !isRecorded(runtime.folder, uploadId));
  checks.equal(
    "no upload is left open in R2",
    open.filter((upload) => kills === 0 || !unknown.includes(upload)),
    [],
  );
  if (kills > 0) {
    checks.that(
      "but those that were killed between R2's answer and the record of it",
      unknown.length <= kills,
      unknown,
    );
    checks.note(`${unknown.length} uploads were created by consumers that were killed before they could say so`);
  }
  checks.equal("no message is kept whose work is done", keptMessages(runtime.folder), []);
}

interface ManifestRow {
  key: string;
  size: number;
  etag: string;
  proof: string | null;
}

async function manifestOf({ admin }: Runtime, dataset: string): Promise<ManifestRow[]> {
  const rows: ManifestRow[] = [];
  for (let cursor: string | undefined = ""; cursor !== undefined;) {
    const after: string = cursor === "" ? "" : `&cursor=${cursor}`;
    const page = await admin.call<{ objects: ManifestRow[]; cursor?: string }>(
      "GET",
      `/v1/datasets/${dataset}/manifest?limit=1000${after}`,
    );
    rows.push(...page.objects);
    cursor = page.cursor;
  }
  return rows;
}

const NONE = { missing: [], extra: [] };

/** Of two sorted lists; a key that is found twice is extra. */
function difference(found: readonly string[], expected: readonly string[]): { missing: string[]; extra: string[] } {
  const there = new Set(found);
  const wanted = new Set(expected);
  const twice = found.filter((key, i) => found.indexOf(key) !== i);
  return {
    missing: expected.filter((key) => !there.has(key)),
    extra: [...found.filter((key) => !wanted.has(key)), ...twice],
  };
}

const sorted = (record: Readonly<Record<string, string>>): [string, string][] =>
  Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
