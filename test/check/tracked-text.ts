/** Text that has no business in the repository: traces of the machine it was written on, and work left undone. */
import { homedir } from "node:os";
import { type Outcome, ROOT } from "./outcome.ts";
import { textOf, treeFiles } from "./tree.ts";

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
}

const literal = (text: string) => new RegExp(`(?<![\\w./-])${RegExp.escape(text)}(?![\\w-])`);

/** Where this checkout lies, and its user's home, are known only on the machine that has them. */
const own = [ROOT, homedir()].filter((folder) => folder !== "/").map((folder) => literal(folder));

const BANS: readonly Ban[] = [
  ...own.map((pattern) => ({ what: "a path of this machine", pattern })),
  { what: "a path of some machine", pattern: /(?<![\w./:$}-])\/(?:home|Users|root|work|workspace|__w)\/[\w.-]/ },
  { what: "a path of some machine", pattern: /\b[A-Z]:\\Users\\/ },
  {
    what: "a package registry's host",
    pattern:
      /\b(?:registry\.(?:npmjs|yarnpkg)\.\w|npm\.pkg\.github\.\w|(?:test\.)?pypi\.(?:org|python)|proxy\.golang\.\w)/,
  },
  {
    what: "a choice of package registry",
    pattern: /(?:^|[\s"'])(?:--registry|--(?:extra-)?index-url|GOPROXY=|registry=)/m,
  },
  { what: "work left undone", pattern: /\b(?:TO-?DO|FIX-?ME)\b/ },
];

export async function checkTrackedText(): Promise<Outcome> {
  const files = treeFiles().filter((file) => !file.startsWith("test/fixtures/"));
  const problems = files.flatMap((file) => bannedText(file, textOf(file) ?? ""));
  return { problems, note: `${files.length} files` };
}

export function bannedText(file: string, text: string): string[] {
  return BANS.flatMap(({ what, pattern }) => {
    const found = pattern.exec(text);
    if (found === null) return [];
    const line = text.slice(0, found.index).split("\n").length;
    return [`${file}:${line}: ${what}: "${found[0].trim()}"`];
  });
}
