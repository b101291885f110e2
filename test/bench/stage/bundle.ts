import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "smol-toml";
import { runTool } from "../../check/command.ts";
import { ROOT } from "../../harness/instance.ts";

/** The program's own entry. */
export const INDEX = join(ROOT, "workers/index.ts");
const OBSERVING = fileURLToPath(new URL("./observing.ts", import.meta.url));

/** What runs in workerd. */
export interface Entry {
  readonly name: string;
  /** Its text: a module that exports the Worker. */
  readonly text: string;
  /** Laid over those of wrangler.toml, whose bindings it has; null: it has neither. */
  readonly vars: Readonly<Record<string, unknown>> | null;
}

export interface Bundle {
  /** The Worker's configuration, derived from wrangler.toml. */
  readonly configPath: string;
  readonly script: string;
}

interface Config {
  readonly compatibility_date: string;
  readonly r2_buckets: readonly { binding: string }[];
  readonly queues: { producers: readonly { binding: string }[] };
  readonly durable_objects: { bindings: readonly { class_name: string }[] };
  readonly vars: Readonly<Record<string, unknown>>;
  readonly secrets?: unknown;
}

/** Bundles an entry as a deployment would, into `folder`. */
export async function bundleEntry({ name, text, vars }: Entry, folder: string): Promise<Bundle> {
  const main = join(folder, `${name}.js`);
  const configPath = join(folder, `${name}.json`);
  const outdir = join(folder, name);
  const { secrets: _, ...whole } = readConfig();
  const config =
    vars === null
      ? { name, compatibility_date: whole.compatibility_date }
      : { ...whole, vars: { ...whole.vars, ...vars } };
  writeFileSync(main, text);
  writeFileSync(configPath, JSON.stringify({ ...config, main }));
  const { ok, output } = await runTool("wrangler", ["deploy", "--dry-run", "--config", configPath, "--outdir", outdir]);
  if (!ok) throw new Error(`wrangler could not bundle ${name}:\n${output}`);
  return { configPath, script: readFileSync(join(outdir, `${name}.js`), "utf8") };
}

/**
 * The program with what costs money counted (`observing.ts`).
 *
 * @param worker an expression for the Worker, in which the program is `program`
 * @param imports lines that it needs
 */
export function observedText(worker = "program.default", imports: readonly string[] = []): string {
  const { r2_buckets, queues, durable_objects } = readConfig();
  const bindings = {
    buckets: r2_buckets.map(({ binding }) => binding),
    queues: queues.producers.map(({ binding }) => binding),
  };
  return [
    `import * as program from ${quoted(INDEX)};`,
    `import { createObserver } from ${quoted(OBSERVING)};`,
    ...imports,
    `const { observeWorker, observeObject } = createObserver(${JSON.stringify(bindings)});`,
    ...durable_objects.bindings.map(
      ({ class_name: each }) => `export const ${each} = observeObject("${each}", program.${each});`,
    ),
    `export default observeWorker(${worker});\n`,
  ].join("\n");
}

/** A path as it stands in a module's text. */
export const quoted = (path: string): string => JSON.stringify(path);

const readConfig = (): Config => parse(readFileSync(join(ROOT, "wrangler.toml"), "utf8")) as unknown as Config;
