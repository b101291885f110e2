/** Faults inside: the tests that deliver messages themselves, and look into the Worker, run inside workerd. */
import { mkdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { runTool } from "../check/command.ts";
import type { Checks } from "../harness/checks.ts";
import { ROOT } from "../harness/instance.ts";

/** Under test/workerd: what a queue may do, consumers that are killed or race, R2 that fails, sources that lie. */
const FILES = [
  "delivery",
  "killed-consumers",
  "dead-letters",
  "incremental",
  "patience",
  "bad-sources",
  "faults-late",
  "faults-r2",
];

interface Report {
  testResults: {
    name: string;
    message: string;
    assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
  }[];
}

export async function checkInside(checks: Checks, seed: number): Promise<void> {
  const folder = join(ROOT, ".penstock/faults");
  mkdirSync(folder, { recursive: true });
  const outputFile = join(folder, "inside.json");
  const files = FILES.map((name) => `test/workerd/${name}.test.ts`);
  process.env["PENSTOCK_SEED"] = String(seed);
  await checks.section(`inside: ${files.length} test files, whose queues, consumers and R2 misbehave`, async () => {
    const args = ["run", "--project", "workerd", "--reporter", "json", "--outputFile", outputFile, ...files];
    const { ok, output } = await runTool("vitest", args);
    const { testResults } = JSON.parse(readFileSync(outputFile, "utf8")) as Report;
    for (const { name, message, assertionResults } of testResults) {
      checks.note(relative(ROOT, name));
      if (assertionResults.length === 0) checks.that(`${relative(ROOT, name)} runs`, false, message);
      for (const { fullName, status, failureMessages } of assertionResults) {
        checks.that(fullName, status === "passed", failureMessages.join("\n"));
      }
    }
    checks.that(
      "every file ran, and nothing failed beside the tests",
      ok && testResults.length === files.length,
      output,
    );
  });
}
