/** `npm run bench [-- suite...] [--json]`: each suite beside a peer; with --json one measurement a line, for scripts. */
import { availableParallelism } from "node:os";
import type { Measurement } from "./measure.ts";
import { benchPresign } from "./presign.ts";

const SUITES: Readonly<Record<string, () => Promise<Measurement[]>>> = {
  presign: benchPresign,
};

const asked = process.argv.slice(2).filter((argument) => argument !== "--json");
const json = process.argv.includes("--json");
const unknown = asked.filter((name) => !(name in SUITES));
if (unknown.length > 0)
  throw new Error(`No suite is called ${unknown.join(", ")}; there are ${Object.keys(SUITES).join(", ")}`);

if (!json) console.log(`Node ${process.versions.node}, ${availableParallelism()} cores; medians (least to most)\n`);
for (const [name, run] of Object.entries(SUITES)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const measured = await run();
  if (json) for (const measurement of measured) console.log(JSON.stringify(measurement));
  else console.log(`${name}\n${measured.map(formatRow).join("\n")}\n`);
}

function formatRow({ case: name, peer, unit, ours, theirs, ratio, oursRange, theirsRange }: Measurement): string {
  const range = ([least, most]: readonly [number, number]) => `(${least} to ${most})`;
  const overlap = oursRange[0] <= theirsRange[1] && theirsRange[0] <= oursRange[1];
  const verdict = overlap ? "no difference beyond the noise" : `${ratio} x`;
  return [
    `  ${name.padEnd(38)} penstock  ${ours.toFixed(1).padStart(8)} ${unit} ${range(oursRange)}`,
    `  ${"".padEnd(38)} ${peer.padEnd(9)} ${theirs.toFixed(1).padStart(8)} ${unit} ${range(theirsRange)}  ${verdict}`,
  ].join("\n");
}
