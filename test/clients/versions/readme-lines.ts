/** The README's lines with jq, as they stand. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checks } from "../../harness/checks.ts";
import { ROOT } from "../../harness/instance.ts";
import type { Stage } from "../stage.ts";
import { needPrograms, runShell } from "./program.ts";

const MARK = "\u001e";
/** What jq prints of members that a refusal does not have: to it that is no error. */
const NOTHING_BUT_NULLS = /^(?=[^]*null)(?:\s|[{}[\]]|(?:"\w+": )?null,?)*$/;

const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Runs them in one shell, in the README's order; what they download goes into `folder`. */
export async function checkReadmeLines(checks: Checks, stage: Stage, folder: string): Promise<void> {
  await needPrograms("curl", "jq");
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const { api, lines } = linesWithJq(readme);
  checks.that("the README has lines with jq", lines.length > 0);
  const script = [api, ...lines.flatMap((line) => [line, `printf '${MARK}%d${MARK}' $?`])].join("\n");
  const env = { PENSTOCK: stage.url, TOKEN: stage.token };
  const { out, errors } = await runShell(script, { cwd: folder, env });
  const told = out.toString().split(MARK);
  for (const [index, line] of lines.entries()) {
    const [printed = "", exit = "none"] = told.slice(index * 2);
    const isGood = exit === "0" && !NOTHING_BUT_NULLS.test(printed);
    checks.that(`README: ${line.replace(/\s+#.*$/, "")}`, isGood, `exit ${exit}: ${printed}${errors}`);
  }
  const list = await stage.text("/v1/datasets/flights/manifest?format=sha256sum");
  const digests = new Set(list.match(/^\\?[0-9a-f]{64}/gm)?.map((sum) => sum.slice(-64)));
  const files = readdirSync(folder).map((name) => digestOf(readFileSync(join(folder, name))));
  const foreign = files.filter((digest) => !digests.has(digest)).length;
  checks.that("what they download are objects, byte for byte", files.length > 0 && foreign === 0, [
    files.length,
    foreign,
  ]);
}

/** The function by which the README calls the API; and of blocks with jq its lines, and the variables that they use. */
function linesWithJq(readme: string): { api: string; lines: string[] } {
  const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = ""]) => block);
  const api = blocks.join("").match(/^api\(\) .*$/m)?.[0];
  if (api === undefined) throw new Error("The README defines no api()");
  const withJq = blocks.filter((block) => block.includes("| jq "));
  const isWanted = (line: string) => line.includes("| jq ") || /^[A-Z]+=\$\(/.test(line);
  return { api, lines: withJq.flatMap((block) => block.replaceAll("\\\n", " ").split("\n").filter(isWanted)) };
}
