/** What other tools of the field read of a sealed version: MLCommons Croissant, NVIDIA's Multi-Storage Client, STAC. */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Checks } from "../../harness/checks.ts";
import { runScript } from "../python.ts";
import type { Stage } from "../stage.ts";
import { FIRST_RECORDS, RECORDS } from "./corpus.ts";

interface ExportInput {
  python: string;
  stage: Stage;
  /** Empty, to write into. */
  folder: string;
  /** The version's objects, a file each. */
  downloads: string;
}

/** Version 1 of `flights`. */
export async function checkExports(checks: Checks, { python, stage, folder, downloads }: ExportInput): Promise<void> {
  const write = async (path: string, file: string) => {
    const text = await stage.text(`/v1/datasets/flights/versions/1/exports/${path}`);
    writeFileSync(join(folder, file), text);
    return text;
  };
  const objects = [...stage.objectsOf("flights")];
  const document = (name: string) => join(folder, name);

  await checks.section("mlcroissant: the Croissant document", async () => {
    await write("croissant?license=https://spdx.org/licenses/BSD-3-Clause.html&creator=Vega", "croissant.json");
    const byRecordSet = <T>(by: Record<string, T>) =>
      Object.fromEntries(Object.entries(by).map(([key, value]) => [`records/${key}`, value]));
    const given = { document: document("croissant.json"), files: objects.length };
    const records = { records: byRecordSet(RECORDS), first: byRecordSet(FIRST_RECORDS) };
    await runScript(checks, { python, name: "croissant_load.py", given: { ...given, ...records } });
  });

  await checks.section("Multi-Storage Client: the manifest", async () => {
    mkdirSync(join(folder, "msc/parts"), { recursive: true });
    const index = await write("msc/msc_manifest_index.json", "msc/msc_manifest_index.json");
    const { parts } = JSON.parse(index) as { parts: { path: string }[] };
    for (const { path } of parts) await write(`msc/${path}`, `msc/${path}`);
    const sizes = Object.fromEntries(objects.map(([key, { bytes }]) => [key, bytes.length]));
    const given = { manifest: document("msc"), objects: sizes, data: downloads };
    await runScript(checks, { python, name: "msc_manifest.py", given });
  });

  await checks.section("pystac: the STAC Item", async () => {
    await write("stac", "stac.json");
    const digests = objects.map(([key, { bytes }]) => {
      const digest = (name: string) => createHash(name).update(bytes).digest("hex");
      return [key, { size: bytes.length, md5: digest("md5"), sha256: digest("sha256") }];
    });
    const given = { document: document("stac.json"), objects: Object.fromEntries(digests) as unknown };
    await runScript(checks, { python, name: "stac_validate.py", given });
  });
}
