/** Runs after the first: nothing to do, a little to do, and something to delete. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Checks } from "../harness/checks.ts";
import { bytesOf, random, uploadOf } from "./corpus.ts";
import type { Expected } from "./expected.ts";
import { askFor, fill, shown, type SourcePlace } from "./fill.ts";
import { NFD_KEYS } from "./keys.ts";
import { countsOf, LIVE_TTL_SECONDS, migrate, type Place } from "./place.ts";
import { checkR2, deleteR2, listR2, overwriteR2 } from "./r2.ts";
import { checkManifest, checkReadBack } from "./read-back.ts";
import { createS3Client } from "./s3-client.ts";
import type { SourceServer } from "./source-server.ts";

const READ_AGAIN_OBJECTS = 100;

/** Nothing to do, then a little; returns what is at the source in the end. */
export async function checkIncremental(
  checks: Checks,
  place: Place,
  server: SourceServer,
  source: SourcePlace,
  before: readonly Expected[],
): Promise<Expected[]> {
  // A key that is not in NFC is neither missing in R2 nor extra there.
  const again = await migrate(place, { deleteExtraneous: true, maxDelete: 0 });
  checks.equal("a second run copies nothing and skips every object", countsOf(again), ["done", 0, before.length, 0]);
  checks.equal("it finds nothing in R2 that the source has not", again.extraneous, { objects: 0, deleted: 0 });
  checks.note(`operations ${JSON.stringify(again.operations)}`);

  const nfd = before.find(({ key }) => NFD_KEYS.includes(key));
  const small = before.find(({ key, bytes }) => key.startsWith("precip/") && bytes.length > 1000);
  if (nfd === undefined || small === undefined) throw new Error("There is no object to change");
  // Of the same size, so that the size alone does not tell.
  const changed = [nfd, small].map(({ key, bytes, headers }, index) => ({
    key,
    headers,
    bytes: random(bytes.length, 99_990 + index),
  }));
  const added = uploadOf("precip/added-later", random(777, 99_992), "application/octet-stream");
  const { etags } = await fill(server, source, [...changed, added]);
  const third = await migrate(place);
  const left = before.length - changed.length;
  checks.equal(
    `after two changes, one of ${shown(nfd.key)}, and one addition a run copies exactly three`,
    countsOf(third),
    ["done", 3, left, 0],
  );

  await sleep(LIVE_TTL_SECONDS * 1000 + 100);
  const said = await askFor(server, source, [...etags.keys()]);
  const now = [...changed, added].map((object): Expected => {
    const { etag, modified, headers } = said.get(object.key) ?? { etag: "", modified: 0, headers: {} };
    return { ...object, etag, modified, headers, proof: "md5" };
  });
  // Those three, and enough of the others.
  const after = [...now, ...before.filter(({ key }) => !etags.has(key))];
  await checkReadBack(checks, place, after.slice(0, READ_AGAIN_OBJECTS));
  await checkR2(checks, place, after, after.slice(0, READ_AGAIN_OBJECTS));
  await checkManifest(checks, place, after);
  return after;
}

/**
 * Two objects are deleted at the source, one of them not in NFC, and somebody puts one of their own into R2. Returns what is
 * at the source in the end.
 */
export async function checkDeletes(
  checks: Checks,
  place: Place,
  server: SourceServer,
  source: SourcePlace,
  before: readonly Expected[],
): Promise<Expected[]> {
  const nfd = before.find(({ key }) => NFD_KEYS.includes(key));
  const small = before.find(({ key }) => key.startsWith("order/"));
  if (nfd === undefined || small === undefined) throw new Error("There is no object to delete");
  const client = createS3Client(server);
  for (const { key } of [nfd, small]) await client.send("DELETE", source.bucket, source.prefix + key);
  const after = before.filter((object) => object !== nfd && object !== small);
  const own = "precip/somebody-else's";
  await overwriteR2(place, own, bytesOf("not a migration's"));

  const timid = await migrate(place, { deleteExtraneous: true, maxDelete: 1 });
  checks.equal(
    "more than may be deleted: none is",
    [timid.extraneous.deleted, timid.problem?.code],
    [0, "too-many-deletes"],
  );
  const there = await listR2(place);
  checks.equal(
    "all are there still",
    [nfd, small].every(({ key }) => there.has(key.normalize("NFC"))),
    true,
  );
  const careful = await migrate(place, { deleteExtraneous: true, maxDelete: 2 });
  checks.equal(
    "what the version holds that a job has read is not deleted",
    [...countsOf(careful), careful.extraneous.deleted],
    ["done", 0, after.length, 0, 0],
  );
  const run = await migrate(place, { deleteExtraneous: true, maxDelete: 2, deleteSealed: true });
  checks.equal(
    "what the source has no more is deleted",
    [...countsOf(run), run.extraneous.deleted],
    ["done", 0, after.length, 0, 2],
  );
  checks.equal("somebody else's object stays", (await listR2(place)).has(own), true);
  await deleteR2(place, own);
  await checkR2(checks, place, after, []);
  await checkManifest(checks, place, after);
  return after;
}
