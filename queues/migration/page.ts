import { utf8Length } from "../../workers/core/http/key-path.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { compileFilter, type Filter, keyFilter } from "../../workers/core/migration/filter.ts";
import { addHazards, findHazards, type Hazards, inspectHazards } from "../../workers/core/migration/hazards.ts";
import { joinPage, type Listed, type Remembered, storeKey } from "../../workers/core/migration/join.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import type { CopyItem } from "../../workers/core/migration/message.ts";
import { planParts } from "../../workers/core/migration/parts.ts";
import { isReadInParts } from "../../workers/core/migration/read-back.ts";
import { outcomeOf, type ReportLine } from "../../workers/core/migration/report-line.ts";
import { verifyPage } from "../../workers/core/migration/verify.ts";
import { foundBy, md5OfEtag, type Proof, type Row, UNKNOWN_ORIGIN } from "../../workers/core/manifest/row.ts";
import { rareStorageClass } from "../../workers/core/migration/origin.ts";
import { ok, type Result } from "../../workers/core/result.ts";
import type { ListedPage } from "../../durable-objects/migration/pages.ts";
import { lookBack, NOTHING_BACK } from "./look-back.ts";
import { lookBeside, type There, writtenByUs } from "./beside.ts";
import { type Run, sourceKeyOf } from "./run.ts";

/** The keys of one page, before anything is known of the destination. */
export interface Found {
  after: string | null;
  /** The end of the interval that these keys are all of; null: there are none beyond. */
  upTo: string | null;
  objects: readonly Listed[];
  malformed: readonly { key: string; detail: string }[];
}

/** What a page comes to, and the lines of the report that are final by it. */
export type PlannedPage = Omit<ListedPage, "rest" | "cuts" | "report"> & {
  lines: ReportLine[];
  /** How far the page goes, where the destination has too much beside it; else null. */
  reached: string | null;
};

/** Objects of a page that a dry run looks at one by one, for what a listing does not tell. */
const INSPECTED = 5;

/** Decides what becomes of the objects of one page: of a copy, a dry run, or a verification. */
export async function planPage(found: Found, run: Run): Promise<Result<PlannedPage>> {
  const { spec } = run;
  const passes = compileFilter(spec.filter);
  const isWanted = (object: Listed) => (object.key !== "" || object.size > 0) && passes(object);
  const isKey = keyFilter(spec.filter);
  const wanted = spec.deletes !== null;
  const beside = await lookBeside(run, [...found.objects, ...found.malformed.map(unread)], { ...found, wanted });
  if (!beside.ok) return beside;
  const { there, reached } = beside.value;
  const isReached = ({ key }: { key: string }) => reached === null || !isBeyond(key, reached);
  const listed = found.objects.filter(isReached).filter(isWanted);
  // R2's keys are in NFC, and so must be the globs that protect them.
  const isNfcKey = keyFilter(inNfc(spec.filter));
  const others = beside.value.others.filter(({ key }) => isKey(key) && isNfcKey(key));
  const known = await run.dataset.recall([...listed, ...others].map(({ key }) => storeKey(key)));
  const rows = new Map(known.rows.map((row) => [row.key, row]));
  const back = spec.direction === "back" ? await lookBack(listed, rows, run) : ok(NOTHING_BACK);
  if (!back.ok) return back;
  for (const [key, row] of back.value.copies) rows.set(key, row);
  // What a job has not committed is not there, and goes nowhere.
  const objects = listed.filter(({ key }) => !back.value.hidden.has(storeKey(key)));
  const extraneous = await writtenByUs(run, others, rows);
  if (!extraneous.ok) return extraneous;
  const malformed = found.malformed
    .filter((entry) => isReached(entry) && isKey(entry.key))
    .map(({ key, detail }) => ({ key, failure: failure("source-bad-answer", detail) }));
  const hazards = findHazards(objects, {
    prefixBytes: utf8Length(spec.prefix),
    sourcePrefix: spec.source.prefix,
  });
  const page = {
    after: found.after,
    upTo: reached ?? found.objects.at(-1)?.key ?? found.after,
    extraneous: extraneous.value,
    reached,
    hazards,
  };
  const planned =
    spec.task === "verify" || spec.task === "verify-deep"
      ? planVerification(objects, there, rows, run)
      : planCopies(objects, there, rows, new Map(known.buried.map(({ key, at }) => [key, at])), run);
  const failures = [...planned.failures, ...malformed];
  const sizes = new Map(objects.map(({ key, size }) => [key, size]));
  const sized = failures.map((failed) => ({ ...failed, size: sizes.get(failed.key) ?? 0 }));
  return ok({
    ...page,
    ...planned,
    hazards: spec.task === "estimate" ? await inspect(objects, hazards, run) : hazards,
    failures: sized,
    lines: [
      ...planned.lines,
      ...sized.map(({ key, size, failure: { code, detail } }): ReportLine => ({
        key,
        outcome: outcomeOf(code),
        size,
        code,
        detail,
      })),
      ...(spec.task === "estimate"
        ? extraneous.value.map(({ key, etag }): ReportLine => ({ key, outcome: "would-delete", size: null, etag }))
        : []),
    ],
  });
}

type Planned = Pick<PlannedPage, "skipped" | "proofs" | "found" | "small" | "large" | "largeParts" | "lines"> & {
  failures: { key: string; failure: Failure }[];
};

function planCopies(
  objects: readonly Listed[],
  there: ReadonlyMap<string, There>,
  rows: ReadonlyMap<string, Remembered>,
  buriedAt: ReadonlyMap<string, number>,
  run: Run,
): Planned {
  const { spec } = run;
  const { small, large, same, kept, failures } = joinPage(objects, there, rows, {
    multipartThresholdBytes: spec.multipartThresholdBytes,
    prefixBytes: utf8Length(spec.prefix),
    overwrite: spec.overwrite,
    buriedAt,
    onlyNew: spec.direction === "back",
  });
  const isForReal = spec.task === "copy";
  const found = same.filter((object) => isForReal && spec.direction === "in" && !object.known);
  return {
    small,
    large,
    largeParts: partsOf(large, run),
    failures,
    skipped: count([...same, ...kept].map(({ item }) => item)),
    proofs: {},
    found: found.map(({ item }) => foundRow(item, there.get(storeKey(item.key)), run)),
    lines: [
      ...same.map(({ item }) => lineOf(item, "same")),
      ...kept.map(({ item, why }) => ({ ...lineOf(item, "kept"), why })),
      ...(isForReal ? [] : [...small, ...large].map((item) => lineOf(item, "would-copy"))),
    ],
  };
}

function planVerification(
  objects: readonly Listed[],
  there: ReadonlyMap<string, There>,
  rows: ReadonlyMap<string, Remembered & { proof: Proof | null }>,
  run: Run,
): Planned {
  const { spec } = run;
  const { proved, toRead, failures } = verifyPage(objects, there, rows, spec.task === "verify-deep");
  const isLarge = (item: CopyItem) => isReadInParts(item, spec.multipartThresholdBytes);
  const large = toRead.filter(isLarge);
  const proofs: Partial<Record<Proof, number>> = {};
  for (const { proof } of proved) proofs[proof] = (proofs[proof] ?? 0) + 1;
  return {
    small: toRead.filter((item) => !isLarge(item)),
    large,
    largeParts: partsOf(large, run),
    failures,
    skipped: count(proved.map(({ item }) => item)),
    proofs,
    found: [],
    lines: proved.map(({ item, proof }) => ({ ...lineOf(item, "verified"), proof })),
  };
}

const lineOf = ({ key, size, etag }: Listed | CopyItem, outcome: ReportLine["outcome"]): ReportLine => ({
  key,
  outcome,
  size,
  etag,
});

/** The first few of a page are looked at one by one: their metadata and encoding are in no listing. */
async function inspect(objects: readonly Listed[], hazards: Hazards, run: Run): Promise<Hazards> {
  const heads = await Promise.all(objects.slice(0, INSPECTED).map(({ key }) => run.source.head(sourceKeyOf(run, key))));
  const inspected = heads.flatMap((head, i) => (head.ok ? [{ ...head.value, key: objects[i]?.key ?? "" }] : []));
  return addHazards(hazards, inspectHazards(inspected));
}

/**
 * The row of an object that was there before any migration of ours: equal ETags prove equal bytes, as an MD5 where
 * the ETag is one, else as a multipart ETag of equal parts.
 */
function foundRow(item: Listed, there: There | undefined, { spec, origin }: Run): Row {
  const key = storeKey(item.key);
  return {
    key,
    size: item.size,
    etag: there?.etag ?? item.etag,
    uploadedAt: there?.lastModified ?? 0,
    contentType: null,
    contentEncoding: null,
    md5: md5OfEtag(there?.etag ?? item.etag),
    sha256: null,
    crc64nvme: null,
    ...UNKNOWN_ORIGIN,
    proof: item.etag.includes("-") ? "etag" : "md5",
    origin,
    sourceKey: key === item.key ? null : item.key,
    sourceEtag: item.etag,
    sourceModifiedAt: item.lastModified,
    storageClass: rareStorageClass(item.storageClass),
    writer: foundBy(spec.id),
  };
}

const partsOf = (items: readonly CopyItem[], { spec }: Run): number =>
  items.reduce(
    (sum, item) => sum + planParts(item.size, { etag: item.etag, firstPart: null }, spec.partBytes).parts,
    0,
  );

const count = (items: readonly { size: number }[]) => ({
  objects: items.length,
  bytes: items.reduce((sum, { size }) => sum + size, 0),
});

const inNfc = (filter: Filter): Filter => ({
  ...filter,
  include: filter.include.map((glob) => glob.normalize("NFC")),
  exclude: filter.exclude.map((glob) => glob.normalize("NFC")),
});

const unread = ({ key }: { key: string }): Listed => ({ key, size: 0, etag: "", lastModified: 0 });

const isBeyond = (key: string, reached: string): boolean => compareUtf8(key, reached) > 0;
