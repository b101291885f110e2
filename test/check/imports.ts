/**
 * Who may import whom: core <- ports <- adapters <- gateway | queues | durable-objects <- workers/index.ts.
 *
 * A rule names what its folder may import; all else is refused. `import type` is of no weight at run time, so some
 * folders may know more types than values. Packages are named, or "*" for any; `cloudflare:` is the platform.
 */
import { globSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { parseSync } from "oxc-parser";
import { type Outcome, ROOT } from "./outcome.ts";

interface Rule {
  /** The rule holds for the files below; the first rule that fits is the one. */
  readonly folder: string;
  readonly may: readonly string[];
  /** By `import type` alone. */
  readonly mayKnow?: readonly string[];
  readonly packages: readonly string[];
  readonly except?: readonly string[];
  /** What to do instead. */
  readonly wayOut: string;
}

const INNER = ["workers/core/", "workers/ports/", "workers/adapters/"];

const RULES: readonly Rule[] = [
  {
    folder: "workers/core/",
    may: ["workers/core/"],
    packages: ["zod"],
    wayOut: "The core is pure: take what it needs as an argument, or put the code into the folder that has it.",
  },
  {
    folder: "workers/ports/",
    may: ["workers/core/", "workers/ports/"],
    packages: [],
    wayOut: "A port is an interface in the core's words; what implements it belongs into workers/adapters.",
  },
  {
    folder: "workers/adapters/",
    may: INNER,
    packages: ["*", "cloudflare:workers"],
    except: ["hono"],
    wayOut: "Adapters serve gateway, queues and durable-objects: move what is shared into workers/adapters or core.",
  },
  {
    folder: "workers/gateway/",
    may: [...INNER, "workers/gateway/"],
    mayKnow: ["durable-objects/"],
    packages: ["*"],
    wayOut: "Call a Durable Object through workers/adapters/objects.ts, and send to a queue through its binding.",
  },
  {
    folder: "queues/",
    may: [...INNER, "queues/"],
    mayKnow: ["durable-objects/"],
    packages: ["*"],
    except: ["hono"],
    wayOut:
      "Call a Durable Object through workers/adapters/objects.ts; move what is shared with the gateway there too.",
  },
  {
    folder: "durable-objects/",
    may: [...INNER, "durable-objects/"],
    packages: ["*", "cloudflare:workers"],
    except: ["hono"],
    wayOut: "Move what is shared into workers/core or workers/adapters.",
  },
  {
    folder: "workers/index.ts",
    may: ["workers/", "queues/", "durable-objects/"],
    packages: [],
    wayOut: "The entry point is a table of contents: give the work a file of its own, and name it here.",
  },
  {
    // What the entry point wires beside the folders, such as the cron.
    folder: "workers/",
    may: INNER,
    mayKnow: ["durable-objects/"],
    packages: ["*"],
    except: ["hono"],
    wayOut: "Call a Durable Object through workers/adapters/objects.ts.",
  },
];

export async function checkImports(): Promise<Outcome> {
  const files = globSync("{workers,queues,durable-objects}/**/*.ts", { cwd: ROOT }).filter(
    (file) => !file.endsWith(".d.ts"),
  );
  const problems = files.flatMap((file) => refusedImports(file, readFileSync(join(ROOT, file), "utf8")));
  return { problems, note: `${files.length} files` };
}

/** One text for each import of `source`, the text of `file`, that the rules refuse. */
export function refusedImports(file: string, source: string): string[] {
  const rule = RULES.find(({ folder }) => file.startsWith(folder));
  if (rule === undefined) return [];
  return importsOf(file, source)
    .filter((found) => !isAllowed(rule, file, found))
    .map(({ from, type, line }) => {
      const verb = type ? "may not even import types" : "may not import";
      return `${file}:${line}: ${rule.folder} ${verb} from "${from}". ${rule.wayOut}`;
    });
}

interface Import {
  readonly from: string;
  /** Nothing of it is left at run time. `import { type A }` leaves `import {}` under verbatimModuleSyntax. */
  readonly type: boolean;
  readonly line: number;
}

function importsOf(file: string, source: string): Import[] {
  const { module, errors } = parseSync(file, source);
  if (errors[0] !== undefined) throw new Error(`${file}: ${errors[0].message}`);
  const lineOf = (offset: number) => source.slice(0, offset).split("\n").length;
  const isType = (start: number) => /^(import|export)\s+type\b/.test(source.slice(start));
  const imports = module.staticImports.map(({ moduleRequest, start }) => ({
    from: moduleRequest.value,
    type: isType(start),
    line: lineOf(start),
  }));
  const exports = module.staticExports.flatMap(({ entries, start }) =>
    entries
      .slice(0, 1)
      .flatMap(({ moduleRequest }) =>
        moduleRequest === null ? [] : [{ from: moduleRequest.value, type: isType(start), line: lineOf(start) }],
      ),
  );
  const dynamic = module.dynamicImports.map(({ moduleRequest, start }) => ({
    from: source.slice(moduleRequest.start + 1, moduleRequest.end - 1),
    type: false,
    line: lineOf(start),
  }));
  return [...imports, ...exports, ...dynamic];
}

function isAllowed(rule: Rule, file: string, { from, type }: Import): boolean {
  if (from.startsWith(".")) {
    const target = posix.join(dirname(file), from);
    return [...rule.may, ...(type ? (rule.mayKnow ?? []) : [])].some((folder) => target.startsWith(folder));
  }
  if (from.includes(":")) return rule.packages.includes(from);
  const name = from
    .split("/")
    .slice(0, from.startsWith("@") ? 2 : 1)
    .join("/");
  return !rule.except?.includes(name) && (rule.packages.includes("*") || rule.packages.includes(name));
}
