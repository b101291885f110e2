/**
 * Whether what README.md names is there: paths in the tree, links, and npm scripts.
 *
 * A README of a store is full of keys, routes and media types that look like paths. So only this counts as one:
 *  - a text in backticks with a slash, whose first folder is one of the tree's own (`queues/settle.ts`,
 *    `workers/core/`), or whose last name ends like a source file of ours (`gone/away.ts`);
 *  - a bare name in backticks that ends like a source file of ours (`wrangler.toml`): some file must be called that;
 *  - in a fenced block, a word that begins with one of the tree's own folders (`examples/demo/demo.ts`);
 *  - the target of a link without a scheme.
 * Never a path: what starts with "/", has a scheme, or has anything but word characters, dots, "@", "+" and "-" between
 * its slashes, which rules out placeholders such as `versions/<n>/...`, patterns and URLs with a query.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Outcome, ROOT } from "./outcome.ts";
import { treeFiles } from "./tree.ts";

const PATH = /^[\w@+.-]+(?:\/[\w@+.-]+)*\/?$/;
const SOURCE_FILE = /\w\.(?:ts|js|py|sh|toml|ya?ml|md)$/;

export async function checkReadmePaths(): Promise<Outcome> {
  const files = treeFiles();
  if (!files.includes("README.md")) return { problems: ["README.md is missing"] };
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { scripts: object };
  return { problems: readmeProblems(readFileSync(join(ROOT, "README.md"), "utf8"), files, Object.keys(scripts)) };
}

export function readmeProblems(readme: string, files: readonly string[], scripts: readonly string[]): string[] {
  const places = new Set(files.flatMap(withFolders));
  const names = new Set(files.map((file) => file.slice(file.lastIndexOf("/") + 1)));
  const isOurs = (text: string) => text.includes("/") && places.has(text.slice(0, text.indexOf("/")));
  const exists = (path: string) => places.has(path.replace(/^\.\//, "").replace(/\/$/, ""));

  const fence = /^```.*\n([\s\S]*?)^```/gm;
  const fenced = [...readme.matchAll(fence)].flatMap(([, block = ""]) => block.split(/[^\w@+./-]+/));
  const prose = readme.replaceAll(fence, "");
  const ticked = [...prose.matchAll(/`([^`\n]+)`/g)].map(([, text = ""]) => text);
  const links = [...prose.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(([, target = ""]) => target);

  const paths = [
    ...fenced.map((word) => word.replace(/[.-]+$/, "")).filter((word) => PATH.test(word) && isOurs(word)),
    ...ticked.filter((text) => PATH.test(text) && text.includes("/") && (isOurs(text) || SOURCE_FILE.test(text))),
    ...links.filter((target) => !/^[a-z][a-z+.-]*:/i.test(target)),
  ];
  const bare = ticked.filter((text) => PATH.test(text) && !text.includes("/") && SOURCE_FILE.test(text));
  const run = [...readme.matchAll(/\bnpm (?:run ([\w:-]+)|(test)\b)/g)].map(([, script, test]) => script ?? test ?? "");
  return [
    ...paths.filter((path) => !exists(path)).map((path) => `README.md names ${path}, which is not in the tree`),
    ...bare.filter((name) => !names.has(name)).map((name) => `README.md names ${name}; no file is called that`),
    ...run.filter((script) => !scripts.includes(script)).map((script) => `README.md: there is no "npm run ${script}"`),
  ].filter((problem, index, all) => all.indexOf(problem) === index);
}

/** "a/b/c.ts" -> "a", "a/b", "a/b/c.ts" */
function withFolders(file: string): string[] {
  const parts = file.split("/");
  return parts.map((_, index) => parts.slice(0, index + 1).join("/"));
}
