/** A bucket without a prefix before its keys, and objects that no migration can bring: each is told, none is lost in silence. */
import type { Checks } from "../harness/checks.ts";
import { bytesOf, md5, nastyObject, type Uploaded, uploadOf } from "./corpus.ts";
import { difference, fillWith, NONE } from "./expected.ts";
import { fill, fillMany, list, shown } from "./fill.ts";
import { oversizedObjects } from "./headers.ts";
import { NASTY_KEYS, ROOT_KEYS, STEPS } from "./keys.ts";
import { countsOf, migrate, type Place, register, type Run } from "./place.ts";
import { checkR2, listR2 } from "./r2.ts";
import { checkManifest, checkReadBack } from "./read-back.ts";
import { ROOT_BUCKET, type SourceServer } from "./source-server.ts";

/** Where no prefix stands before the key, `.` and `..` are steps of the URL's path, and a slash is its second. */
export async function checkWholeBucket(checks: Checks, at: Place, server: SourceServer): Promise<void> {
  const place: Place = { ...at, dataset: "root", prefix: `${server.name}-root/` };
  const special = [...ROOT_KEYS, ...STEPS].map(nastyObject);
  const all = await fillWith(checks, server, { bucket: ROOT_BUCKET, prefix: "" }, { ordinary: [], special });
  const expected = all.filter(({ key }) => !STEPS.includes(key));
  const steps = all.filter(({ key }) => STEPS.includes(key));
  await register(place, "root", "");
  const run = await migrate(place);
  checks.equal("every key is copied to which a URL leads", countsOf(run), ["done", expected.length, 0, steps.length]);
  checks.equal(
    "the others are unaddressable-key, each by name",
    run.failures.map(({ key, code }) => `${key} ${code}`).sort(),
    steps.map(({ key }) => `${key} unaddressable-key`).sort(),
  );
  await checkR2(checks, place, expected, expected);
  await checkReadBack(checks, place, expected);
  await checkManifest(checks, place, expected);
  checks.equal("a second run copies nothing", countsOf(await migrate(place)), [
    "done",
    0,
    expected.length,
    steps.length,
  ]);
}

const SOURCE_PREFIX = "odd/";
/** Longer than the source's by so much that a key which just fits S3 does not fit R2. */
const PREFIX = "what-cannot-be-migrated/";
const KEY_MAX_BYTES = 1024;
/** More than a page of a listing. */
const BETWEEN = 1100;

/** Two keys that are one in NFC, on one page of the listing and far apart. */
const CONFLICT = ["conflict/é.json", "conflict/e\u0301.json"];
const APART = ["apart/e\u0301.json", "apart/é.json"] as const;
const LONG = `${"long/".repeat(100)}${"l".repeat(200)}`.padEnd(KEY_MAX_BYTES - SOURCE_PREFIX.length, "/l");

/** Recorded failures that name the key; the migration goes on past them. */
export async function checkOddities(checks: Checks, at: Place, server: SourceServer): Promise<void> {
  const place: Place = { ...at, dataset: "odd", prefix: PREFIX };
  const source = { bucket: server.bucket, prefix: SOURCE_PREFIX };
  const between = Array.from({ length: BETWEEN }, (_, index) =>
    uploadOf(`apart/f/${index}`, bytesOf(""), "text/plain"),
  );
  await fillMany(server, source, between);
  const lost = NASTY_KEYS.filter(server.manners.garbles);
  // A listing goes on behind the last key as it was shown: one that is shown as less than it is comes again, for ever.
  const garbled = lost.filter((key) => !/[\ufffe\uffff]/.test(key));
  for (const key of lost.filter((each) => !garbled.includes(each))) checks.note(`left out: ${shown(key)}`);
  const odd: readonly (readonly [string, readonly Uploaded[]])[] = [
    ["key-conflict", CONFLICT.map(nastyObject)],
    ["metadata-too-large", oversizedObjects()],
    ["key-too-long", [nastyObject(LONG)]],
    ["source-archived", [archived("GLACIER"), archived("DEEP_ARCHIVE")]],
    ["source-object-missing", garbled.map(nastyObject)],
  ];
  const fine = [nastyObject("fine.json"), archived("GLACIER_IR")];
  const apart = APART.map(nastyObject);
  const { refused } = await fill(server, source, [...fine, ...apart, ...odd.flatMap(([, objects]) => objects)]);
  for (const [key, said] of refused) checks.note(`refused: ${shown(key)}, with ${said}`);
  const classes = new Map((await list(server, source)).map(({ key, storageClass }) => [key, storageClass]));

  await register(place, "server", SOURCE_PREFIX);
  const run = await migrate(place);
  checks.equal("the run ends as done", [run.state, run.problem], ["done", null]);
  const told = new Map(run.failures.map(({ key, code }) => [key, code]));
  for (const [code, objects] of odd) {
    const keys = objects.map(({ key }) => key).filter((key) => !refused.has(key));
    if (code === "source-archived" && keys.some((key) => `archived/${classes.get(key)}` !== key)) {
      checks.note(`${server.name} knows no storage classes: nothing of it is archived`);
      continue;
    }
    const found = [...told].filter(([, said]) => said === code).map(([key]) => key);
    // Their listed names are others: only the number can be compared.
    const isAsMany = code === "source-object-missing" && found.length === keys.length;
    checks.equal(
      `${keys.length} objects are ${code}, each by name`,
      isAsMany
        ? NONE
        : difference(
            found.filter((key) => !isOneOf(APART, key)),
            keys,
          ),
      NONE,
    );
  }
  await checkApart(checks, place, run);
  const again = await migrate(place);
  checks.equal("a second run copies nothing", [again.state, again.problem, again.copied.objects], ["done", null, 0]);
  checks.equal("it tells the same failures again", failuresOf(again), failuresOf(run));
}

/**
 * Far apart neither page of the listing shows both. Whatever was copied first stays, and the other is told; what R2 has is
 * then the bytes of the one that was not told.
 */
async function checkApart(checks: Checks, place: Place, run: Run): Promise<void> {
  const told = run.failures
    .filter(({ key, code }) => isOneOf(APART, key) && code === "key-conflict")
    .map(({ key }) => key);
  checks.that("of two such keys far apart at least one is a key-conflict", told.length > 0, run.failures.slice(0, 10));
  const there = await listR2(place);
  const name = "apart/é.json";
  const untold = APART.find((key) => !told.includes(key));
  const etag = untold === undefined ? undefined : md5(nastyObject(untold).bytes);
  checks.equal("R2 has the one that is not told, or none", there.get(name), etag);
  checks.equal("of two on one page R2 has neither", there.has("conflict/é.json"), false);
}

const failuresOf = ({ failures }: Run): string[] => failures.map(({ key, code }) => `${key} ${code}`).sort();

const archived = (storageClass: string): Uploaded =>
  uploadOf(`archived/${storageClass}`, bytesOf(storageClass), "text/plain", { "x-amz-storage-class": storageClass });

const isOneOf = (keys: readonly string[], key: string): boolean => keys.includes(key);
