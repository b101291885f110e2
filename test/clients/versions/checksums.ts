/** `sha256sum -c`, of GNU coreutils, on what curl downloads by signed URLs. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Checks } from "../../harness/checks.ts";
import type { Stage } from "../stage.ts";
import { NAMES_PREFIX } from "./corpus.ts";
import { needPrograms, runProgram, runShell } from "./program.ts";

/** A file of this name is changed, to be found: spaces and all must be read from the list as they are. */
const CHANGED = `${NAMES_PREFIX}back\\slash.txt`;

interface Downloads {
  /** To be made, and filled: a file a key. */
  folder: string;
  via: "edge" | "r2";
  version: string;
}

/** Downloads a version of `flights` by its signed list, and has its checksums checked. */
export async function checkSums(checks: Checks, stage: Stage, { folder, via, version }: Downloads): Promise<void> {
  await needPrograms("curl");
  const asked = `/v1/datasets/flights/manifest?version=${version}`;
  const lines = (await stage.text(`${asked}&format=ndjson&sign=${via}`)).trimEnd().split("\n");
  const entries = lines.map((line) => JSON.parse(line) as Partial<Signed> & { end?: boolean });
  const end = entries.pop();
  checks.equal(`${via}: the list has an end record`, end?.end, true);
  mkdirSync(folder);
  const ran = await download(entries as Signed[], folder);
  checks.that(`${via}: curl gets each of ${entries.length} signed URLs`, ran.exit === 0, ran.errors);

  const list = `${folder}.sha256`;
  writeFileSync(list, await stage.text(`${asked}&format=sha256sum`));
  const good = await sumsOf(list, folder);
  checks.that(`${via}: sha256sum -c passes`, good.exit === 0, good.text);
  checks.equal(`${via}: sha256sum -c looks at ${entries.length} files`, countOf(good.text, /: OK$/gm), entries.length);

  const changed = join(folder, CHANGED);
  const bytes = readFileSync(changed);
  writeFileSync(
    changed,
    bytes.map((byte, index) => (index === 0 ? byte ^ 1 : byte)),
  );
  const bad = await sumsOf(list, folder);
  const found = [bad.exit, countOf(bad.text, /: FAILED$/gm), /back\\+slash\.txt: FAILED$/m.test(bad.text)];
  checks.equal(`${via}: with one byte changed it fails, and names that file alone`, found, [1, 1, true]);
  writeFileSync(changed, bytes);
}

/** An object that has changed since version 1 must not be read by what was signed for that. */
export async function checkPinned(checks: Checks, stage: Stage, key: string): Promise<void> {
  const asked = `/v1/datasets/flights/manifest?version=1&sign=r2&prefix=${encodeURIComponent(key)}`;
  const [signed] = (JSON.parse(await stage.text(asked)) as { objects: Signed[] }).objects;
  if (signed === undefined) throw new Error(`Version 1 has no ${key}`);
  const headers = Object.entries(signed.headers).flatMap(([name, value]) => ["--header", `${name}: ${value}`]);
  const status = async (args: string[]) => {
    const { out } = await runProgram("curl", ["-sS", "-o", "-", "--write-out", "%{http_code}", ...args, signed.url]);
    return out.subarray(-3).toString();
  };
  const found = [await status(headers), await status([])];
  checks.equal("r2: what has changed since version 1 is a 412, and a 403 without the signed header", found, [
    "412",
    "403",
  ]);
}

/** An entry of a signed list. */
interface Signed {
  key: string;
  url: string;
  /** To be sent exactly as they are. */
  headers: Record<string, string>;
}

/**
 * One curl for all of them, which ends with the first that fails. In its configuration a quoted word knows `\\`, `\"` and
 * `\n`, and after `next` all options are given anew (curl's manual, "--config" and "--next").
 */
async function download(entries: readonly Signed[], folder: string) {
  const quoted = (text: string) => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
  const each = entries.map(({ key, url, headers }) =>
    [
      ...["silent", "show-error", "fail", "globoff", "create-dirs"],
      `url = ${quoted(url)}`,
      `output = ${quoted(join(folder, key))}`,
      ...Object.entries(headers).map(([name, value]) => `header = ${quoted(`${name}: ${value}`)}`),
    ].join("\n"),
  );
  return runProgram("curl", ["--fail-early", "--config", "-"], { input: `${each.join("\nnext\n")}\n` });
}

/** Perl's `shasum` is what machines without coreutils have. Whether names are escaped in what it prints is up to its release. */
async function sumsOf(list: string, folder: string): Promise<{ exit: number | string | null; text: string }> {
  const check =
    'if command -v sha256sum > /dev/null; then sha256sum -c --strict "$LIST"; else shasum -a 256 -c --strict "$LIST"; fi';
  const { exit, out, errors } = await runShell(check, { cwd: folder, env: { LIST: list } });
  return { exit, text: out.toString() + errors };
}

const countOf = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;
