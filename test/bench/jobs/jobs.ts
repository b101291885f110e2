/** What GPU jobs cost: each case is a file of its own. */
import type { BenchOptions, Measurement } from "../measure.ts";
import { benchLeases, benchLeaseState } from "./leases.ts";
import { benchPresign } from "./presign.ts";

const CASES: Readonly<Record<string, (options: BenchOptions) => AsyncIterable<Measurement>>> = {
  "presign-10k": benchPresign,
  leases: benchLeases,
  "lease-state": benchLeaseState,
};

export async function* benchJobs(options: BenchOptions): AsyncGenerator<Measurement> {
  const unknown = options.cases.filter((name) => !(name in CASES));
  if (unknown.length > 0) {
    throw new Error(`No case is called ${unknown.join(", ")}; there are ${Object.keys(CASES).join(", ")}`);
  }
  for (const [name, run] of Object.entries(CASES)) {
    if (options.cases.length === 0 || options.cases.includes(name)) yield* run(options);
  }
}
