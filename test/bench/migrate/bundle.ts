import { fileURLToPath } from "node:url";
import { type Bundle, bundleEntry, INDEX, observedText, quoted } from "../stage/bundle.ts";

const PEERS = fileURLToPath(new URL("./peers.ts", import.meta.url));

const ENTRIES = {
  penstock: () => `export * from ${quoted(INDEX)};\nexport { default } from ${quoted(INDEX)};\n`,
  observed: () => observedText(),
  peers: () => `export { default } from ${quoted(PEERS)};\n`,
} as const;

/** Bundles an entry into `folder`. Ours have every binding of wrangler.toml, and `vars` over its own. */
export const bundle = (
  name: keyof typeof ENTRIES,
  folder: string,
  vars: Readonly<Record<string, unknown>> = {},
): Promise<Bundle> => bundleEntry({ name, text: ENTRIES[name](), vars: name === "peers" ? null : vars }, folder);
