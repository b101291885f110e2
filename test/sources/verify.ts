/** Verifications of a whole dataset, and of one that somebody has changed behind our back. */
import type { Checks } from "../harness/checks.ts";
import { checkReport } from "./dry-run.ts";
import type { Expected } from "./expected.ts";
import { countsOf, migrate, type Place, type Run } from "./place.ts";
import { deleteR2, overwriteR2 } from "./r2.ts";
import { rotBit } from "./simulator.ts";

/** Nothing was changed: by both listings, then by reading all of R2 back. */
export async function checkVerified(checks: Checks, place: Place, expected: readonly Expected[]): Promise<void> {
  const bytes = expected.reduce((sum, object) => sum + object.bytes.length, 0);
  for (const verify of ["listing", "deep"]) {
    const begun = performance.now();
    const run = await migrate(place, { verify });
    const seconds = (performance.now() - begun) / 1000;
    checks.note(`${verify}: ${seconds.toFixed(1)} s, operations ${JSON.stringify(run.operations)}`);
    checks.equal(
      `verify ${verify}: every object and byte is verified`,
      [run.state, run.verified, run.failed.objects, run.failures],
      ["done", { objects: expected.length, bytes }, 0, []],
    );
    await checkReport(checks, place, run, expected, "verified");
  }
}

/**
 * Objects are changed past Penstock: one is put anew with another byte, one is deleted, and of two a bit is turned on the
 * simulator's disk, so that their ETags are as they were. Then they are mended.
 */
export async function checkTampered(checks: Checks, place: Place, expected: readonly Expected[]): Promise<void> {
  const here = expected.filter(({ key }) => /^(precip\/c\/1|large)\/[^/]*$/.test(key));
  const small = here.filter(({ key, bytes }) => key.startsWith("precip/") && bytes.length > 2000);
  const [changed, deleted, rotten, large] = [...small.slice(0, 3), here.find(({ key }) => key === ROTTEN_IN_PARTS)];
  if (changed === undefined || deleted === undefined || rotten === undefined || large === undefined) {
    throw new Error("There is no object to tamper with");
  }
  const flipped = changed.bytes.slice();
  flipped[1000] = (flipped[1000] ?? 0) ^ 1;
  await overwriteR2(place, changed.key, flipped);
  await deleteR2(place, deleted.key);
  rotBit(place, rotten.key);
  rotBit(place, large.key);

  const listing = await migrate(place, { verify: "listing" });
  const seen = [`${changed.key} copy-different`, `${deleted.key} copy-missing`];
  checks.equal("by the listings the changed and the deleted one are told", told(listing), seen.sort());
  const deep = await migrate(place, { verify: "deep", include: ["precip/c/1/*", "large/*"] });
  const all = [...seen, `${rotten.key} copy-different`, `${large.key} copy-different`];
  checks.equal("read back, so are those of which a bit has rotted on the disk", told(deep), all.sort());
  const wanted = { state: "done", verified: here.length - all.length };
  checks.equal("all others are verified", { state: deep.state, verified: deep.verified.objects }, wanted);

  // A run compares ETags, and the rotten ones have theirs.
  const mended = await migrate(place);
  checks.equal("a run mends what the listings tell", countsOf(mended), ["done", 2, expected.length - 2, 0]);
  const keys = { migration: deep.id, outcomes: ["different", "missing"] };
  const again = await migrate(place, { keys, overwrite: "always" });
  checks.equal("a run over the verification's report mends all four", countsOf(again), ["done", 4, 0, 0]);
  const include = [changed, deleted, rotten, large].map(({ key }) => key);
  const last = await migrate(place, { verify: "deep", include });
  checks.equal("read back they are verified", [last.state, last.verified.objects, told(last)], ["done", 4, []]);
}

/** Of two parts: with three and more, no ETag of parts that does not come out tells that the bytes are others. */
const ROTTEN_IN_PARTS = "large/in-parts.csv";

const told = ({ failures }: Run): string[] => failures.map(({ key, code }) => `${key} ${code}`).sort();
