import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import type { Failure } from "../../workers/core/failure.ts";
import { isTransient } from "../../workers/core/failure.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import type { Derived } from "../../workers/core/manifest/version.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { consolidate, type Hierarchy, hierarchiesOf } from "../../workers/core/zarr/consolidate.ts";
import type { Pieces } from "./pieces.ts";
import type { SealingStores } from "./sealing.ts";
import type { KeptVersion } from "./versions.ts";

/** Metadata documents of one version. */
const DOCUMENTS_MAX = 20_000;
/** Those that are consolidated: each is a subrequest, of which an invocation has 10,000. */
const READ_MAX = 5_000;
/** Bytes of one hierarchy's: what a Worker's memory holds. */
const BYTES_MAX = 16 * 1024 * 1024;
/** Hierarchies of one version. */
const HIERARCHIES_MAX = 100;

interface Document {
  key: string;
  size: number;
  etag: string;
}

/**
 * Makes the consolidated metadata of a version's Zarr hierarchies. What cannot be made is left out, and the version says
 * why: its objects are as they are.
 */
export async function deriveDocuments(
  pieces: Pieces,
  version: KeptVersion,
  folder: string,
  prefix: string,
  { system, data }: SealingStores,
): Promise<Result<{ derived: Derived[]; warnings: string[] }>> {
  const documents = pieces.nodes(version.number, DOCUMENTS_MAX);
  if (documents === null)
    return ok({ derived: [], warnings: [`There are more than ${DOCUMENTS_MAX} metadata documents.`] });
  const byKey = new Map(documents.map((document) => [document.key, document]));
  const hierarchies = hierarchiesOf([...byKey.keys()], HIERARCHIES_MAX + 1);
  const warnings: string[] = [];
  if (hierarchies.length > HIERARCHIES_MAX) {
    warnings.push(`There are more than ${HIERARCHIES_MAX} hierarchies: the first of them have consolidated metadata.`);
  }
  const derived: Derived[] = [];
  let read = 0;
  for (const hierarchy of hierarchies.slice(0, HIERARCHIES_MAX)) {
    const of = hierarchy.documents.flatMap((key) => byKey.get(key) ?? []);
    if (read + of.length > READ_MAX) {
      warnings.push(`"${hierarchy.root}": of one version ${READ_MAX} metadata documents are consolidated at most.`);
      continue;
    }
    read += of.length;
    const texts = await readAll(of, prefix, data);
    if (!texts.ok) {
      if (isTransient(texts.failure.code)) return texts;
      warnings.push(`"${hierarchy.root}": ${texts.failure.detail}`);
      continue;
    }
    const made = make(hierarchy, texts.value);
    if (typeof made === "string") warnings.push(made);
    if (typeof made === "string" || made === null) continue;
    const bytes = new TextEncoder().encode(made.text);
    const stored = `${folder}derived/${made.key}`;
    const http = { contentType: "application/json" };
    const put = await system.put(stored, bytes, { size: bytes.length, http, custom: {} });
    if (!put.ok) return put;
    const original = byKey.get(made.key)?.etag ?? null;
    derived.push({ key: made.key, stored, size: bytes.length, etag: put.value.etag, original });
  }
  return ok({ derived, warnings });
}

/** The document, null where none is needed, or why there is none. */
function make(hierarchy: Hierarchy, texts: ReadonlyMap<string, string>): ReturnType<typeof consolidate> | string {
  try {
    return consolidate(hierarchy, texts);
  } catch (error) {
    return `"${hierarchy.root}": a metadata document is not JSON: ${String(error).slice(0, 200)}`;
  }
}

/** The texts by key, each as it was sealed. */
async function readAll(
  documents: readonly Document[],
  prefix: string,
  data: SealingStores["data"],
): Promise<Result<Map<string, string>>> {
  const bytes = documents.reduce((sum, { size }) => sum + size, 0);
  if (bytes > BYTES_MAX) {
    return fail({
      code: "object-too-large",
      detail: `Its metadata documents have ${bytes} bytes; ${BYTES_MAX} are consolidated.`,
    });
  }
  const texts = new Map(documents.map(({ key }) => [key, ""]));
  let problem: Failure | null = null;
  await forEachLimited(documents, CONNECTIONS_MAX, async ({ key, etag }) => {
    if (problem !== null) return;
    const got = await data.get(prefix + key, { ifMatch: etag });
    if (got.ok) texts.set(key, await new Response(got.value.body).text());
    else if (isTransient(got.failure.code)) problem = got.failure;
    else problem = { code: "object-changed", detail: `"${key}" is no longer what was sealed.` };
  });
  return problem === null ? ok(texts) : fail(problem);
}
