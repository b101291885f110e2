import { hashKey } from "../../workers/adapters/key-hash.ts";
import { changesToParquet, rowsToParquet } from "../../workers/adapters/parquet-rows.ts";
import { type Failure, type FailureCode, failure } from "../../workers/core/failure.ts";
import {
  buildPages,
  ENTRY_BYTES,
  INDEX_PAGE_BYTES,
  indexPages,
  pageOfHash,
  writeEntry,
} from "../../workers/core/manifest/version-index.ts";
import { type SealedFile, versionFolder } from "../../workers/core/manifest/version.ts";
import { isNodeDocument } from "../../workers/core/zarr/consolidate.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";
import type { Chore } from "./chores.ts";
import { deriveDocuments } from "./derive.ts";
import { Pieces } from "./pieces.ts";
import type { KeptRow } from "./rows.ts";
import { Shadow } from "./shadow.ts";
import type { KeptVersion, Step, Versions } from "./versions.ts";
import { versionDocument } from "./version-document.ts";
import { checkFolder, emptyFolder, putFile, putNew } from "./version-folder.ts";

export interface SealingSizes {
  /** Objects of one file: what a Worker's memory holds as rows, as columns and as Parquet at once. */
  fileRows: number;
  /** Rows of a group: what a reader decodes at least. */
  groupRows: number;
}
const SEALING_SIZES: SealingSizes = { fileRows: 25_000, groupRows: 5_000 };
/** Pages of one part of the index: 8 MiB, of one size but the last, as R2 wants it. */
const PART_PAGES = 128;
/** Rows that are cleared away in one turn. */
const CLEARED_ROWS = 10_000;
const RETRY_MAX_MS = 300_000;
/** What passes by itself. */
const LATER: ReadonlySet<FailureCode> = new Set(["store-unavailable", "store-throttled", "upload-lost"]);
/** Tries of a step that throws. */
const THROWN_MAX = 5;

export interface SealingStores {
  /** Penstock's own bucket, and the dataset's. */
  system: ObjectStore;
  data: ObjectStore;
}

/**
 * Seals a version, step by step: each step reads rows in one turn, writes one object, and records it. A step whose end was
 * lost is done again, and makes the same bytes. Rows that change meanwhile are read as they were (`shadow`).
 */
export class Sealing implements Chore {
  readonly name = "sealing";
  readonly #versions: Versions;
  readonly #pieces: Pieces;
  readonly #shadow: Shadow;
  readonly #storage: DurableObjectStorage;
  readonly #dataset: () => { id: string; name: string; kind: "files" | "zarr"; prefix: string } | null;
  readonly #stores: () => Result<SealingStores>;
  readonly #sizes: SealingSizes;

  constructor(
    versions: Versions,
    storage: DurableObjectStorage,
    dataset: () => { id: string; name: string; kind: "files" | "zarr"; prefix: string } | null,
    stores: () => Result<SealingStores>,
    sizes = SEALING_SIZES,
  ) {
    this.#versions = versions;
    this.#storage = storage;
    this.#pieces = new Pieces(storage.sql);
    this.#shadow = new Shadow(storage.sql);
    this.#dataset = dataset;
    this.#stores = stores;
    this.#sizes = sizes;
  }

  /** When there is something to do next, milliseconds since 1970; null for never. */
  dueAt(): number | null {
    const { open } = this.#versions;
    return open === null ? null : Math.max(open.retryAt, open.createdAt);
  }

  /** Does one step. */
  async run(): Promise<void> {
    const version = this.#versions.open;
    const step = version?.step ?? null;
    if (version === null || step === null) return;
    const done = await this.#attempt(version, step);
    if (done.ok) return;
    const { code, detail } = done.failure;
    console.error(
      JSON.stringify({
        message: "sealing failed",
        version: version.number,
        step: step.do,
        tries: version.tries,
        code,
        detail,
      }),
    );
    // What is wrong in what was read stays wrong. A version that is sealed, or has failed, only has to be cleared up.
    const isLater =
      version.state !== "sealing" || LATER.has(code) || (code === "misconfigured" && version.tries < THROWN_MAX);
    if (!isLater) {
      this.#storage.transactionSync(() => this.#versions.giveUp(version.number, detail));
      return;
    }
    const wait = Math.min(RETRY_MAX_MS, 1000 * 2 ** Math.min(version.tries, 10));
    this.#versions.postpone(version.number, detail, Date.now() + wait);
  }

  /** A step that throws is tried again some times: a value may be too large for good, or the object be reset. */
  async #attempt(version: KeptVersion, step: Step): Promise<Result<null>> {
    const dataset = this.#dataset();
    const stores = this.#stores();
    if (dataset === null) return fail(failure("misconfigured", "The dataset has no configuration."));
    if (!stores.ok) return fail({ ...stores.failure, code: "store-unavailable" });
    try {
      return await this.#do(version, step, dataset, stores.value);
    } catch (error) {
      return fail(failure("misconfigured", `The step threw: ${String(error).slice(0, 300)}`));
    }
  }

  #do(
    version: KeptVersion,
    step: Step,
    dataset: { id: string; name: string; kind: "files" | "zarr"; prefix: string },
    stores: SealingStores,
  ): Promise<Result<null>> {
    const folder = versionFolder(dataset.id, version.number);
    switch (step.do) {
      case "rows":
        return this.#writeRows(version, step, folder, dataset.kind, stores.system);
      case "changes":
        return this.#writeChanges(version, step, folder, stores.system);
      case "index":
        return this.#writePart(version, step, folder, stores.system);
      case "derive":
        return this.#derive(version, folder, dataset.prefix, stores);
      case "publish":
        return this.#publish(version, folder, dataset, stores.system);
      case "clear":
        return this.#clear(version, folder, stores.system);
    }
  }

  async #writeRows(
    version: KeptVersion,
    step: Extract<Step, { do: "rows" }>,
    folder: string,
    kind: "files" | "zarr",
    system: ObjectStore,
  ): Promise<Result<null>> {
    const { fileRows, groupRows } = this.#sizes;
    const { rows, changes, upTo } = this.#shadow.next(version, this.#versions.parentOf(version), step.after, fileRows);
    const run = entriesOf(rows, version);
    if (!run.ok) return run;
    // The number after that of the last file: where a step that is done again finds no rows, the next one takes it.
    const number = this.#numberOf(version, "manifest");
    let written: SealedFile | null = null;
    // A version of nothing has one file, of no rows: tools read its columns.
    if (rows.length > 0 || (number === "0001" && upTo === null)) {
      const keys = rows.map(({ key }) => key);
      const parquet = rowsToParquet(rows, groupRows);
      const file = await putFile(system, "manifest", `${folder}manifest-${number}.parquet`, parquet, keys, groupRows);
      if (!file.ok) return file;
      written = file.value;
    }
    const key = `${folder}runs/${number}`;
    const put = rows.length === 0 ? null : await putNew(system, key, run.value.entries, {});
    if (put?.ok === false) return put;
    const next: Step =
      upTo === null ? { do: "index", part: 0, uploadId: null, etags: [] } : { do: "rows", after: upTo };
    this.#storage.transactionSync(() => {
      if (put !== null) this.#pieces.addRun(version.number, key, put.value.etag, run.value.offsets);
      this.#pieces.addChanges(version.number, changes);
      if (kind === "zarr")
        this.#pieces.addNodes(
          version.number,
          rows.filter(({ key: name }) => isNodeDocument(name)),
        );
      // Few changes among many objects are few files: what a diff reads does not grow with what did not change.
      const found = this.#pieces.countChanges(version.number);
      const isFile = found >= fileRows || (upTo === null && found > 0);
      const after: Step = isFile ? { do: "changes", next } : next;
      this.#versions.set(version.number, { step: after });
      if (written !== null) this.#pieces.addFile(version.number, written);
    });
    return ok(null);
  }

  async #writeChanges(
    version: KeptVersion,
    { next }: Extract<Step, { do: "changes" }>,
    folder: string,
    system: ObjectStore,
  ): Promise<Result<null>> {
    // A diff of many versions holds a group of each.
    const groupRows = Math.ceil(this.#sizes.groupRows / 5);
    const changes = this.#pieces.changesOf(version.number);
    const key = `${folder}changes-${this.#numberOf(version, "changes")}.parquet`;
    const keys = changes.map((change) => change.key);
    const written = await putFile(system, "changes", key, changesToParquet(changes, groupRows), keys, groupRows);
    if (!written.ok) return written;
    this.#storage.transactionSync(() => {
      this.#pieces.dropChanges(version.number);
      this.#versions.set(version.number, { step: next });
      this.#pieces.addFile(version.number, written.value);
    });
    return ok(null);
  }

  #numberOf({ number }: KeptVersion, kind: SealedFile["kind"]): string {
    const made = this.#pieces.files(number).filter((file) => file.kind === kind).length;
    return String(made + 1).padStart(4, "0");
  }

  async #writePart(
    version: KeptVersion,
    step: Extract<Step, { do: "index" }>,
    folder: string,
    system: ObjectStore,
  ): Promise<Result<null>> {
    const counted = this.#pieces.countRows(version.number);
    if (counted !== version.counts.objects) {
      const detail = `The version has ${counted} rows, and had ${version.counts.objects} objects when it was begun.`;
      return fail(failure("internal", detail));
    }
    const pages = indexPages(version.counts.objects);
    const parts = Math.ceil(pages / PART_PAGES);
    const first = step.part * PART_PAGES;
    const entries = await readSlices(system, this.#pieces.slices(version.number, step.part));
    if (!entries.ok) return entries;
    const built = buildPages(entries.value, first, Math.min(pages, first + PART_PAGES), pages);
    if (!built.ok) return built;
    const key = `${folder}index.bin`;
    const metadata = { http: { contentType: "application/octet-stream" }, custom: {} };
    const { number, salt } = version;
    const bytes = pages * INDEX_PAGE_BYTES;
    const made = (etag: string) => ({ number, salt, pages, key, etag, bytes, derived: [] });
    const after: Step = { do: "derive" };
    if (parts === 1) {
      const put = await putNew(system, key, built.value, metadata.http);
      if (!put.ok) return put;
      this.#versions.set(version.number, { step: after, index: made(put.value.etag) });
      return ok(null);
    }
    const uploadId = step.uploadId === null ? await system.createUpload(key, metadata) : ok(step.uploadId);
    if (!uploadId.ok) return uploadId;
    const sent = await system.uploadPart(key, uploadId.value, step.part + 1, built.value, built.value.length);
    if (!sent.ok) return this.#uploadAgain(version, sent.failure);
    const etags = [...step.etags, sent.value];
    if (etags.length < parts) {
      const next: Step = { do: "index", part: step.part + 1, uploadId: uploadId.value, etags };
      this.#versions.set(version.number, { step: next });
      return ok(null);
    }
    const list = etags.map((etag, index) => ({ partNumber: index + 1, etag }));
    const completed = await system.completeUpload(key, uploadId.value, list);
    if (!completed.ok) return this.#uploadAgain(version, completed.failure);
    this.#versions.set(version.number, { step: after, index: made(completed.value.etag) });
    return ok(null);
  }

  /** An upload that is gone, perhaps since its completion was not answered, is begun again: the index is made anew. */
  #uploadAgain(version: KeptVersion, problem: Failure): Result<null> {
    if (problem.code !== "upload-lost") return fail(problem);
    this.#versions.set(version.number, { step: { do: "index", part: 0, uploadId: null, etags: [] } });
    return ok(null);
  }

  async #derive(version: KeptVersion, folder: string, prefix: string, stores: SealingStores): Promise<Result<null>> {
    const derived = await deriveDocuments(this.#pieces, version, folder, prefix, stores);
    if (!derived.ok) return derived;
    this.#versions.set(version.number, { step: { do: "publish" }, ...derived.value });
    return ok(null);
  }

  /**
   * The version's own document is the last object to be written: who finds it finds the others. That they are what was written
   * is looked at once more, and that nothing else goes by such a name: a request of an attempt before may have come late.
   */
  async #publish(
    version: KeptVersion,
    folder: string,
    dataset: { id: string; name: string },
    system: ObjectStore,
  ): Promise<Result<null>> {
    const now = Date.now();
    const files = this.#pieces.files(version.number);
    const made = [...files, ...(version.index === null ? [] : [version.index])].map(({ key, etag }) => ({ key, etag }));
    const derived = version.derived.map(({ stored: key, etag }) => ({ key, etag }));
    const checked = await checkFolder(system, folder, [...made, ...derived]);
    if (!checked.ok) return checked;
    const info = this.#versions.info(version);
    const text = versionDocument(dataset, version, info, files, this.#sizes.groupRows, now);
    const bytes = new TextEncoder().encode(text);
    const put = await putNew(system, `${folder}version.json`, bytes, { contentType: "application/json" });
    if (!put.ok) return put;
    const document = { bytes: bytes.length, ...put.value };
    this.#storage.transactionSync(() => this.#versions.seal(version.number, now, document, { do: "clear" }));
    return ok(null);
  }

  async #clear(version: KeptVersion, folder: string, system: ObjectStore): Promise<Result<null>> {
    if (version.state === "failed") {
      const emptied = await emptyFolder(system, folder);
      if (!emptied.ok || !emptied.value) return emptied.ok ? ok(null) : emptied;
    }
    for (const key of this.#pieces.runs(version.number)) {
      const deleted = await system.delete(key);
      if (!deleted.ok) return deleted;
    }
    this.#storage.transactionSync(() => {
      if (version.state === "failed") this.#pieces.dropFiles(version.number);
      const isDone = this.#pieces.clear(version, CLEARED_ROWS);
      this.#versions.set(version.number, { step: isDone ? null : { do: "clear" } });
    });
    return ok(null);
  }
}

/** The index's entries of these rows, in the order of their hashes, and where each part of the index begins in them. */
function entriesOf(rows: readonly KeptRow[], version: KeptVersion): Result<{ entries: Uint8Array; offsets: number[] }> {
  const salt = Uint8Array.fromHex(version.salt);
  const pages = indexPages(version.counts.objects);
  const hashed = rows.map((row) => {
    const hash = hashKey(salt, row.key);
    return { row, hash, part: Math.floor(pageOfHash(hash, pages) / PART_PAGES) };
  });
  hashed.sort((a, b) => a.part - b.part);
  const entries = new Uint8Array(rows.length * ENTRY_BYTES);
  const offsets = Array.from({ length: Math.ceil(pages / PART_PAGES) + 1 }, () => 0);
  for (const [index, { row, hash, part }] of hashed.entries()) {
    const problem = writeEntry(entries, index * ENTRY_BYTES, hash, row);
    if (problem !== null) return fail({ ...problem, detail: `${problem.detail} Its key: "${row.key.slice(0, 200)}".` });
    offsets[part + 1] = (index + 1) * ENTRY_BYTES;
  }
  for (const [index, offset] of offsets.entries()) offsets[index] = Math.max(offset, offsets[index - 1] ?? 0);
  return ok({ entries, offsets });
}

/** One after the other what the runs have of a part. */
async function readSlices(
  system: ObjectStore,
  slices: readonly { key: string; etag: string; start: number; end: number }[],
): Promise<Result<Uint8Array>> {
  const entries = new Uint8Array(slices.reduce((sum, { start, end }) => sum + end - start, 0));
  let at = 0;
  for (const { key, etag, start, end } of slices) {
    if (start === end) continue;
    const got = await system.get(key, { range: { kind: "bounded", start, end: end - 1 }, ifMatch: etag });
    if (!got.ok) return got;
    entries.set(new Uint8Array(await new Response(got.value.body).arrayBuffer()), at);
    at += end - start;
  }
  return ok(entries);
}
