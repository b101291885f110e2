import type { BenchOptions, Measurement } from "../measure.ts";
import { benchPresign } from "./presign.ts";

const CASES: Readonly<Record<string, (options: BenchOptions) => AsyncGenerator<Measurement>>> = {
  "presign-10k": benchPresign,
};

/** What a job's nodes ask for most. */
export async function* benchJobs(options: BenchOptions): AsyncGenerator<Measurement> {
  const unknown = options.cases.filter((name) => !(name in CASES));
  if (unknown.length > 0) {
    throw new Error(`No case is called ${unknown.join(", ")}; there are ${Object.keys(CASES).join(", ")}`);
  }
  for (const [name, run] of Object.entries(CASES)) {
    if (options.cases.length === 0 || options.cases.includes(name)) yield* run(options);
  }
}
