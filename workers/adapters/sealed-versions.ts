import { type Failure, failure } from "../core/failure.ts";
import { LOOK_UP_PAGES_MAX, LOOK_UP_REQUESTS_MAX } from "../core/limits.ts";
import { type Derived, filesOf, type SealedIndex } from "../core/manifest/version.ts";
import { findEntry, pageOfHash } from "../core/manifest/version-index.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { SealedObject, VersionResolver } from "../ports/version-resolver.ts";
import { asked, datasetNamed } from "./ask.ts";
import { readPage, readPages } from "./index-pages.ts";
import { hashKey } from "./key-hash.ts";
import { Memo } from "./memo.ts";
import { datasetOf } from "./objects.ts";

/** What the requests of this isolate share; versions never change, so nothing here is ever out of date. */
const opened = new Memo<{ index: SealedIndex; salt: Uint8Array; derived: ReadonlyMap<string, Derived> }>(200);

/**
 * Opens a sealed version by its number. A key is then looked up in one page of the version's index: of the isolate's memory,
 * of the data centre's cache, or by one read of R2, pinned to the ETag that the index was sealed with.
 */
export async function findSealed(
  env: Env,
  dataset: { id: string; name: string },
  version: string,
  waitUntil: (work: Promise<unknown>) => void = () => undefined,
): Promise<Result<VersionResolver>> {
  const name = `${dataset.id}/${version}`;
  if (version.endsWith(FILES)) return findFiles(env, dataset, version.slice(0, -FILES.length), name);
  const known = opened.peek(name);
  if (known !== null) return ok(resolverOf(env, known, waitUntil));
  const answered = await ask(env, dataset, version);
  if (!answered.ok) return answered;
  const index = answered.value;
  const derived = new Map(index.derived.map((document) => [document.key, document]));
  const open = { index, salt: Uint8Array.fromHex(index.salt), derived };
  opened.set(name, open, Date.now());
  return ok(resolverOf(env, open, waitUntil));
}

/** What follows the number where the files of a version are meant, and not its objects. */
const FILES = ".files";

const openedFiles = new Memo<ReturnType<typeof filesOf>>(50);

/** The files that a version is kept in, under their own names. */
async function findFiles(
  env: Env,
  dataset: { id: string; name: string },
  number: string,
  name: string,
): Promise<Result<VersionResolver>> {
  let files = openedFiles.peek(name);
  if (files === null) {
    const version = await asked(datasetNamed(dataset.name), () =>
      datasetOf(env, dataset.name).version({ kind: "number", number: Number(number) }),
    );
    if (!version.ok) return version;
    const { datasetId, info } = version.value;
    if (datasetId !== dataset.id || info.state !== "sealed") return fail(failure("unknown-version"));
    files = filesOf(datasetId, version.value);
    openedFiles.set(name, files, Date.now());
  }
  const byName = files;
  const find = (key: string): SealedObject | null => {
    const file = byName.get(key);
    return file === undefined ? null : { size: file.size, etag: file.etag, document: file.key };
  };
  return ok({
    async resolve(key) {
      const file = find(key);
      return file === null ? fail(failure("object-not-found")) : ok(file);
    },
    resolveMany: async (keys) => ok(keys.map(find)),
  });
}

async function ask(env: Env, dataset: { id: string; name: string }, version: string): Promise<Result<SealedIndex>> {
  if (!/^[1-9]\d{0,8}$/.test(version)) {
    return fail(
      failure("unknown-version", `"${version.slice(0, 64)}" is no version: it is "live", or a number from 1.`),
    );
  }
  return asked(datasetNamed(dataset.name), () => datasetOf(env, dataset.name).sealedIndex(dataset.id, Number(version)));
}

function resolverOf(
  env: Env,
  { index, salt, derived }: { index: SealedIndex; salt: Uint8Array; derived: ReadonlyMap<string, Derived> },
  waitUntil: (work: Promise<unknown>) => void,
): VersionResolver {
  const documentAt = (key: string, original: boolean): SealedObject | null => {
    const made = original ? undefined : derived.get(key);
    return made === undefined ? null : { size: made.size, etag: made.etag, document: made.stored };
  };
  return {
    async resolve(key, original = false): Promise<Result<SealedObject>> {
      const made = documentAt(key, original);
      if (made !== null) return ok(made);
      const hash = hashKey(salt, key);
      const page = await readPage(env, index, pageOfHash(hash, index.pages), waitUntil);
      return page.ok ? findEntry(page.value, hash) : page;
    },

    async resolveMany(keys, { original = () => false, most = LOOK_UP_MOST } = {}) {
      const found = keys.map((key, at) => documentAt(key, original(at)));
      const wanted = new Map<number, { at: number; hash: Uint8Array }[]>();
      for (const [at, key] of keys.entries()) {
        if (found[at] !== null) continue;
        const hash = hashKey(salt, key);
        const page = pageOfHash(hash, index.pages);
        const onPage = wanted.get(page);
        if (onPage === undefined) wanted.set(page, [{ at, hash }]);
        else onPage.push({ at, hash });
      }
      let wrong: Failure | null = null;
      const see = (page: number, bytes: Uint8Array) => {
        for (const { at, hash } of wanted.get(page) ?? []) {
          const entry = findEntry(bytes, hash);
          if (entry.ok) found[at] = entry.value;
          else if (entry.failure.code !== "object-not-found") wrong = entry.failure;
        }
      };
      const trouble = (await readPages(env, index, [...wanted.keys()], most, see, waitUntil)) ?? wrong;
      return trouble === null ? ok(found) : fail(trouble);
    },
  };
}

const LOOK_UP_MOST = { requests: LOOK_UP_REQUESTS_MAX, pages: LOOK_UP_PAGES_MAX };
