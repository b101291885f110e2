/** What a dry run says before anything is copied, beside what is there and what the run then did. */
import type { Checks } from "../harness/checks.ts";
import { difference, type Expected, NONE } from "./expected.ts";
import { migrate, type Place, reportOf, type Run } from "./place.ts";
import { listR2 } from "./r2.ts";

/** Hazards that keys show, by rules of our own: what is counted of each. */
const IN_KEYS: Readonly<Record<string, (key: string) => boolean>> = {
  "not-nfc": (key) => key !== key.normalize("NFC"),
  "dot-segments": (key) => key.split("/").some((segment) => segment === "." || segment === ".."),
  "double-slash": (key) => key.includes("//"),
};

/** Before the first run; returns what it said. */
export async function checkDryRun(checks: Checks, place: Place, expected: readonly Expected[]): Promise<Run> {
  const dry = await migrate(place, { dryRun: true });
  checks.equal("it ends as done, and has copied nothing", [dry.state, dry.copied.objects], ["done", 0]);
  checks.equal("R2 has nothing of the dataset", [...(await listR2(place)).keys()], []);
  for (const [hazard, isOne] of Object.entries(IN_KEYS)) {
    const count = expected.filter(({ key }) => isOne(key)).length;
    checks.equal(`it counts the keys with the hazard ${hazard}`, dry.hazards[hazard]?.objects ?? 0, count);
  }
  await checkReport(checks, place, dry, expected, "would-copy");
  await checkFilters(checks, place, expected);
  return dry;
}

/** Globs over keys that sort one way by UTF-8 and another way by UTF-16. */
async function checkFilters(checks: Checks, place: Place, expected: readonly Expected[]): Promise<void> {
  const dry = await migrate(place, {
    dryRun: true,
    include: ["order/**", "keys/**"],
    exclude: ["order/😀/*", "**/*-🙂"],
  });
  const passed = expected.filter(
    ({ key }) => /^(order|keys)\//.test(key) && !/^order\/😀\/[^/]*$/u.test(key) && !/\/[^/]*-🙂$/u.test(key),
  );
  await checkReport(checks, place, dry, passed, "would-copy");
}

/** Once the run is over: what was said before, and what was done. */
export function checkForecast(checks: Checks, dry: Run, run: Run): void {
  const told = [dry.estimate.objects, dry.estimate.bytes];
  checks.equal("the dry run said how many objects and bytes", told, [run.copied.objects, run.copied.bytes]);
  checks.note(`requests as estimated ${JSON.stringify(dry.estimate.requests)}`);
  checks.note(`requests as counted   ${JSON.stringify(run.operations)}`);
  // Those in parts are asked how they were cut, and read again where that was not by one size.
  const beyond = run.operations.sourceGet - (dry.estimate.requests["sourceGet"] ?? 0);
  checks.that("what is copied whole is read once, also where it is encoded", beyond < IN_PARTS_READ_AGAIN_MAX, beyond);
}

/** Requests, of the few objects of the corpus that go in parts. */
const IN_PARTS_READ_AGAIN_MAX = 50;

/** The report has a line an object, no more and no less, and each says the same. */
export async function checkReport(
  checks: Checks,
  place: Place,
  run: Run,
  expected: readonly Expected[],
  outcome: string,
): Promise<void> {
  const lines = await reportOf(place, run);
  const sizes = new Map(expected.map(({ key, bytes }) => [key, bytes.length]));
  const names = lines.map(({ key }) => key);
  checks.equal(`its report has a line for each of ${sizes.size} objects`, difference(names, [...sizes.keys()]), NONE);
  const others = lines.filter((line) => line.outcome !== outcome || line.size !== sizes.get(line.key));
  checks.equal(`each says ${outcome}, and the size`, others.slice(0, 5), []);
}
