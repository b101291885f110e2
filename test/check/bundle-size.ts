import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runTool } from "./command.ts";
import type { Outcome } from "./outcome.ts";

/** Minified, uncompressed. Every cold start parses it; `import { z } from "zod"` alone would add 370 KiB. Parquet is 110 of it. */
const MAX_KIB = 960;

export async function checkBundleSize(): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), "penstock-bundle-"));
  try {
    const { ok, output } = await runTool("wrangler", ["deploy", "--dry-run", "--minify", "--outdir", folder]);
    if (!ok) return { problems: [output] };
    const scripts = (await readdir(folder)).filter((name) => /\.m?js$/.test(name));
    const sizes = await Promise.all(scripts.map(async (name) => (await stat(join(folder, name))).size));
    const kib = Math.ceil(sizes.reduce((sum, size) => sum + size, 0) / 1024);
    if (kib === 0) return { problems: [`wrangler wrote no script:\n${output}`] };
    const problem = `The bundle is ${kib} KiB, more than ${MAX_KIB}. See what came in: wrangler deploy --dry-run --metafile`;
    return { problems: kib > MAX_KIB ? [problem] : [], note: `${kib} of ${MAX_KIB} KiB` };
  } finally {
    await rm(folder, { recursive: true });
  }
}
