import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "smol-toml";
import { runTool } from "../../check/command.ts";
import { ROOT } from "../../harness/instance.ts";

const INDEX = join(ROOT, "workers/index.ts");
const OBSERVING = fileURLToPath(new URL("./observing.ts", import.meta.url));
const PEERS = fileURLToPath(new URL("./peers.ts", import.meta.url));

/** What runs in workerd. */
export type Entry = "penstock" | "observed" | "peers";

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
  readonly vars: Record<string, unknown>;
  readonly secrets?: unknown;
}

/** Bundles an entry as a deployment would, into `folder`. Ours have every binding of wrangler.toml, and `vars` over its own. */
export async function bundle(
  name: Entry,
  folder: string,
  vars: Readonly<Record<string, unknown>> = {},
): Promise<Bundle> {
  const main = join(folder, `${name}.js`);
  const configPath = join(folder, `${name}.json`);
  const outdir = join(folder, name);
  const { secrets: _, ...whole } = parse(readFileSync(join(ROOT, "wrangler.toml"), "utf8")) as unknown as Config;
  const config =
    name === "peers"
      ? { name, compatibility_date: whole.compatibility_date }
      : { ...whole, vars: { ...whole.vars, ...vars } };
  writeFileSync(main, entryOf(name, whole));
  writeFileSync(configPath, JSON.stringify({ ...config, main }));
  const { ok, output } = await runTool("wrangler", ["deploy", "--dry-run", "--config", configPath, "--outdir", outdir]);
  if (!ok) throw new Error(`wrangler could not bundle ${name}:\n${output}`);
  return { configPath, script: readFileSync(join(outdir, `${name}.js`), "utf8") };
}

function entryOf(name: Entry, config: Config): string {
  if (name === "peers") return `export { default } from ${quoted(PEERS)};\n`;
  if (name === "penstock") return `export * from ${quoted(INDEX)};\nexport { default } from ${quoted(INDEX)};\n`;
  const bindings = {
    buckets: config.r2_buckets.map(({ binding }) => binding),
    queues: config.queues.producers.map(({ binding }) => binding),
  };
  const classes = config.durable_objects.bindings.map(({ class_name }) => class_name);
  return [
    `import * as program from ${quoted(INDEX)};`,
    `import { createObserver } from ${quoted(OBSERVING)};`,
    `const { observeWorker, observeObject } = createObserver(${JSON.stringify(bindings)});`,
    ...classes.map((each) => `export const ${each} = observeObject("${each}", program.${each});`),
    "export default observeWorker(program.default);\n",
  ].join("\n");
}

const quoted = (path: string): string => JSON.stringify(path);
