import { execFileSync } from "node:child_process";
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./outcome.ts";

const BUILT = ["node_modules", ".git", ".wrangler", ".penstock", ".venv", "__pycache__", "dist", "coverage"];

/** The files that git tracks or would add; without git, all but what is known to be built. Paths from the root. */
export function treeFiles(): string[] {
  if (!existsSync(join(ROOT, ".git"))) {
    const exclude = BUILT.flatMap((name) => [name, `**/${name}`]);
    return globSync(["**/*", ".*", ".*/**/*"], { cwd: ROOT, exclude }).filter(isFile);
  }
  const args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  return [...new Set(execFileSync("git", args, { cwd: ROOT, encoding: "utf8" }).split("\0"))].filter(isFile);
}

const isFile = (path: string) =>
  statSync(join(ROOT, path), { throwIfNoEntry: false })?.isFile() === true && path !== "";

/** The text of a file, or undefined where it is not text. */
export function textOf(path: string): string | undefined {
  const bytes = readFileSync(join(ROOT, path));
  return bytes.includes(0) ? undefined : bytes.toString("utf8");
}
