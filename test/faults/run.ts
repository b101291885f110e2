/**
 * `npm run test:faults [-- --seed <n>] [-- --only <name>]`: whatever happens to a migration, nothing is missing, nothing
 * is twice, nothing is wrong, no upload is left open, and the counts are exact. Needs npm alone.
 *
 * The seed, which PENSTOCK_SEED sets too, fixes the data, the dice and the moments; how messages and requests interleave
 * is the machine's.
 */
import { parseArgs } from "node:util";
import { seedOf } from "../harness/chance.ts";
import { createChecks } from "../harness/checks.ts";
import { startLocalSource } from "../harness/local-source.ts";
import { checkInside } from "./inside.ts";
import { checkKills } from "./kills.ts";
import { meet, type Meeting } from "./meet.ts";
import { SOURCE_FAULTS } from "./source-faults.ts";

const { values } = parseArgs({ options: { seed: { type: "string" }, only: { type: "string" } } });
const seed = seedOf(values.seed ?? process.env["PENSTOCK_SEED"]);
const names = ["inside", "kills", ...SOURCE_FAULTS.map(({ name }) => name)];
if (values.only !== undefined && !names.includes(values.only)) {
  throw new Error(`There is no "${values.only}"; there are ${names.join(", ")}`);
}
const isAsked = (name: string) => values.only === undefined || values.only === name;

console.log(`seed ${seed}: to run the same again, PENSTOCK_SEED=${seed} npm run test:faults`);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
const checks = createChecks();

if (isAsked("inside")) await checkInside(checks, seed);

const source = await startLocalSource();
const meetings: Meeting[] = [];
try {
  const asked = SOURCE_FAULTS.filter(({ name }) => isAsked(name));
  const together = asked.filter(({ alone }) => alone !== true);
  const groups = [
    ...(together.length === 0 ? [] : [{ name: "sources", faults: together }]),
    ...asked.filter(({ alone }) => alone === true).map((fault) => ({ name: fault.name, faults: [fault] })),
  ];
  for (const { name, faults } of groups) {
    await checks.section(
      `${name}: starting with ${faults.length === 1 ? "one fault" : `${faults.length} faults`}`,
      async () => {
        meetings.push(await meet(name, faults, source, seed));
      },
    );
  }
  // Meanwhile these wait for their sources, minutes long.
  if (isAsked("kills")) await checkKills(checks, source, seed);
  for (const meeting of meetings) await meeting.verify(checks);
} finally {
  for (const meeting of meetings) await meeting.stop();
  await source.stop();
}
checks.end();
