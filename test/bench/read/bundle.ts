import { fileURLToPath } from "node:url";
import { type Bundle, bundleEntry, INDEX, quoted } from "../stage/bundle.ts";

const COUNTING = fileURLToPath(new URL("./counting.ts", import.meta.url));
const PEERS = fileURLToPath(new URL("./peers.ts", import.meta.url));

/** Our Worker with its R2 operations counted, and the peers. */
const ENTRIES = {
  penstock: `import worker from ${quoted(INDEX)};
import { counting } from ${quoted(COUNTING)};
export * from ${quoted(INDEX)};
export default counting(worker);
`,
  peers: `export * from ${quoted(PEERS)};
export { default } from ${quoted(PEERS)};
`,
} as const;

/** Bundles an entry into `folder`. Ours has every binding of wrangler.toml, and `vars` over its own. */
export const bundle = (
  name: keyof typeof ENTRIES,
  folder: string,
  vars: Readonly<Record<string, string>> = {},
): Promise<Bundle> => bundleEntry({ name, text: ENTRIES[name], vars: name === "peers" ? null : vars }, folder);
