/** `npm run check [-- name...]`: all that is quick and static. Needs no network. */
import { availableParallelism } from "node:os";
import { checkBundleSize } from "./bundle-size.ts";
import { tool } from "./command.ts";
import { checkImports } from "./imports.ts";
import { checkLockfile } from "./lockfile.ts";
import type { Check, Outcome } from "./outcome.ts";
import { checkReadmePaths } from "./readme-paths.ts";
import { checkTrackedText } from "./tracked-text.ts";

/** The longest first, so that no core idles at the end. */
const CHECKS: Readonly<Record<string, Check>> = {
  lint: tool("oxlint", "--type-aware", "--deny-warnings", "--format=unix"),
  knip: tool("knip", "--no-progress", "--treat-config-hints-as-errors"),
  format: tool("prettier", "--check", "--log-level=warn", "."),
  bundle: checkBundleSize,
  "types:worker": tool("tsc", "-p", "tsconfig.json"),
  "types:core": tool("tsc", "-p", "workers/core/tsconfig.json"),
  "types:node": tool("tsc", "-p", "test/tsconfig.json"),
  "types:workerd": tool("tsc", "-p", "test/workerd/tsconfig.json"),
  env: tool("wrangler", "types", "workers/env.d.ts", "--include-runtime=false", "--strict-vars=false", "--check"),
  imports: checkImports,
  lockfile: checkLockfile,
  readme: checkReadmePaths,
  text: checkTrackedText,
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in CHECKS));
if (unknown.length > 0)
  throw new Error(`No check is called ${unknown.join(", ")}; there are ${Object.keys(CHECKS).join(", ")}`);

const queue = Object.entries(CHECKS).filter(([name]) => asked.length === 0 || asked.includes(name));
const total = queue.length;
let failed = 0;

async function work(): Promise<void> {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const [name, check] = next;
    const started = performance.now();
    const { problems, note } = await check().catch((error: unknown): Outcome => ({ problems: [String(error)] }));
    const seconds = `${((performance.now() - started) / 1000).toFixed(1)} s`;
    const line = `${problems.length === 0 ? "pass" : "FAIL"}  ${name.padEnd(13)} ${seconds.padStart(6)}`;
    console.log([note === undefined ? line : `${line}  ${note}`, ...problems].join("\n"));
    if (problems.length > 0) failed++;
  }
}

await Promise.all(Array.from({ length: Math.min(4, Math.max(2, availableParallelism())) }, work));
console.log(`${total - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
