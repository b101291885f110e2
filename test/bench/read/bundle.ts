import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "smol-toml";
import { runTool } from "../../check/command.ts";
import { ROOT } from "../../harness/instance.ts";

const COUNTING = fileURLToPath(new URL("./counting.ts", import.meta.url));
const PEERS = fileURLToPath(new URL("./peers.ts", import.meta.url));

/** Entries of what runs in workerd: our Worker with its R2 operations counted, and the peers. */
const ENTRIES = {
  penstock: `import worker from ${JSON.stringify(join(ROOT, "workers/index.ts"))};
import { counting } from ${JSON.stringify(COUNTING)};
export * from ${JSON.stringify(join(ROOT, "workers/index.ts"))};
export default counting(worker);
`,
  peers: `export * from ${JSON.stringify(PEERS)};
export { default } from ${JSON.stringify(PEERS)};
`,
} as const;

export interface Bundle {
  /** The Worker's configuration, derived from wrangler.toml. */
  readonly configPath: string;
  readonly script: string;
}

/** Bundles an entry as a deployment would, into `folder`. Ours has every binding of wrangler.toml, and `vars` over its own. */
export async function bundle(
  name: keyof typeof ENTRIES,
  folder: string,
  vars: Readonly<Record<string, string>> = {},
): Promise<Bundle> {
  const main = join(folder, `${name}.js`);
  const configPath = join(folder, `${name}.json`);
  const outdir = join(folder, name);
  const { secrets: _, ...whole } = parse(readFileSync(join(ROOT, "wrangler.toml"), "utf8"));
  const { compatibility_date, vars: ownVars } = whole;
  const config =
    name === "peers" ? { name, compatibility_date } : { ...whole, vars: { ...(ownVars as object), ...vars } };
  writeFileSync(main, ENTRIES[name]);
  writeFileSync(configPath, JSON.stringify({ ...config, main }));
  const { ok, output } = await runTool("wrangler", ["deploy", "--dry-run", "--config", configPath, "--outdir", outdir]);
  if (!ok) throw new Error(`wrangler could not bundle ${name}:\n${output}`);
  return { configPath, script: readFileSync(join(outdir, `${name}.js`), "utf8") };
}
