/**
 * `npm run bench [-- suite...] [--json] [--case name] [--peer name] [--rounds n] [--scale x]`: each suite beside a peer;
 * with --json one measurement a line, for scripts.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import type { BenchOptions, Figures, Measurement } from "./measure.ts";
import { benchJobs } from "./jobs/jobs.ts";
import { benchManifest } from "./manifest/manifest.ts";
import { benchMigrate } from "./migrate/migrate.ts";
import { benchRead } from "./read/read.ts";

const SUITES: Readonly<Record<string, (options: BenchOptions) => AsyncIterable<Measurement>>> = {
  read: benchRead,
  migrate: benchMigrate,
  manifest: benchManifest,
  jobs: benchJobs,
};

const { values, positionals: asked } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    case: { type: "string", multiple: true, default: [] },
    peer: { type: "string", multiple: true, default: [] },
    rounds: { type: "string" },
    scale: { type: "string", default: "1" },
  },
});
const unknown = asked.filter((name) => !(name in SUITES));
if (unknown.length > 0)
  throw new Error(`No suite is called ${unknown.join(", ")}; there are ${Object.keys(SUITES).join(", ")}`);
const rounds = values.rounds === undefined ? null : Number(values.rounds);
if (rounds !== null && !(Number.isInteger(rounds) && rounds > 0))
  throw new Error("--rounds is a whole number above 0.");
const scale = Number(values.scale);
if (!(scale > 0)) throw new Error("--scale is a number above 0.");

const { json } = values;
if (!json) console.log(`Node ${process.versions.node}, ${availableParallelism()} cores; medians (least to most)\n`);
for (const [name, run] of Object.entries(SUITES)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  if (!json) console.log(name);
  for await (const measurement of run({ cases: values.case, peers: values.peer, rounds, scale })) {
    console.log(json ? JSON.stringify(measurement) : formatRow(measurement));
  }
  if (!json) console.log("");
}

function formatRow(measurement: Measurement): string {
  const { case: name, peer, unit, ours, theirs, ratio, oursRange, theirsRange } = measurement;
  const { oursFigures, theirsFigures, cpuRatio, note } = measurement;
  const range = ([least, most]: readonly [number, number]) => `(${least} to ${most})`;
  const overlap = oursRange[0] <= theirsRange[1] && theirsRange[0] <= oursRange[1];
  const verdict = overlap ? `${ratio} x, no difference beyond the noise` : `${ratio} x`;
  const byCpu = cpuRatio === undefined ? "" : `; ${cpuRatio} x by processor time`;
  return [
    `  ${name.padEnd(38)} penstock  ${ours.toFixed(1).padStart(8)} ${unit} ${range(oursRange)}`,
    ...formatFigures(oursFigures),
    `  ${"".padEnd(38)} ${peer.padEnd(9)} ${theirs.toFixed(1).padStart(8)} ${unit} ${range(theirsRange)}  ${verdict}${byCpu}`,
    ...formatFigures(theirsFigures),
    ...(note === undefined ? [] : [`    ${note}`]),
  ].join("\n");
}

function formatFigures(figures: Figures | undefined): string[] {
  if (figures === undefined) return [];
  const columns = Object.entries(figures).map(([unit, value]) => `${value.toFixed(2).padStart(10)} ${unit}`);
  return [`    ${columns.join("")}`];
}
