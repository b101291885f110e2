/** curl and jq on the records of one JSON Lines file: in shards, and resumed where a transfer was cut. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checks } from "../../harness/checks.ts";
import { JSONL, type Stage } from "../stage.ts";
import { needPrograms, runShell } from "./program.ts";

const SHARDS = 4;
const CUT_AFTER = 12_345;

/** The end of an answer. */
interface End {
  end: boolean;
  records: number;
  next: number | null;
  total: number;
  etag: string;
}

/** @param folder empty, to write into */
export async function checkRecords(checks: Checks, stage: Stage, folder: string): Promise<void> {
  await needPrograms("curl", "jq");
  const { bytes } = stage.objectsOf("records").get(JSONL) ?? { bytes: new Uint8Array() };
  const lines = new TextDecoder().decode(bytes).trimEnd().split("\n");
  const url = `${stage.url}/v1/datasets/records/records/${JSONL}`;

  /** Lines of bash that read `records "<query>"`, and keep what came in a file. */
  const shell = async (text: string) => {
    const records = `records() { curl -sSf -H "Authorization: Bearer $TOKEN" "$RECORDS?$1"; }`;
    const env = { TOKEN: stage.token, RECORDS: url };
    const { exit, out, errors } = await runShell(`${records}\n${text}`, { cwd: folder, env });
    return { exit, text: out.toString().trimEnd(), errors };
  };
  const kept = (file: string) => readFileSync(join(folder, file), "utf8").trimEnd().split("\n");
  const endOf = (file: string) => JSON.parse(kept(file).at(-1) ?? "null") as End;
  const recordsOf = (file: string) => kept(file).slice(0, -1);

  const shards = Array.from({ length: SHARDS }, (_, index) => `${index}/${SHARDS}`);
  const counted: number[] = [];
  for (const [index, shard] of shards.entries()) {
    const ran = await shell(
      `records "shard=${shard}" | tee ${index} | jq -n 'reduce (inputs | select(has("end") | not)) as $r (0; . + $r.distance)'`,
    );
    checks.that(`shard ${shard}: jq reads every line`, ran.exit === 0, ran.errors);
    counted.push(Number(ran.text));
  }
  const union = shards.flatMap((_, index) => recordsOf(String(index)));
  const same = union.join("\n") === lines.join("\n");
  checks.that(`${SHARDS} shards are the ${lines.length} lines of the file, byte for byte`, same, union.length);
  const distance = lines.reduce((sum, line) => sum + (JSON.parse(line) as { distance: number }).distance, 0);
  checks.equal(
    "jq finds the sum of a member in them",
    counted.reduce((sum, each) => sum + each, 0),
    distance,
  );
  const ends = shards.map((_, index) => endOf(String(index)));
  const sums = [ends.every(({ end, next }) => end && next === null), ends.reduce((sum, { total }) => sum + total, 0)];
  checks.equal("each shard says that it is at its end, and how many records it has", sums, [true, lines.length]);

  await shell('records "shard=1/4&limit=20000" > first');
  const { next, etag } = endOf("first");
  await shell(`records "shard=1/4&offset=${next}&etag=${etag}" > rest`);
  const resumed = [...recordsOf("first"), ...recordsOf("rest")].join("\n");
  checks.that("a shard is resumed at the record that its answer names", resumed === recordsOf("1").join("\n"), next);

  // head closes the pipe, and curl says that it could not write: as a reader does that dies.
  await shell(`records "shard=2/4" 2> /dev/null | head -n ${CUT_AFTER} > cut || true`);
  await shell(`records "shard=2/4&offset=${CUT_AFTER}" > after`);
  const mended = [...kept("cut"), ...recordsOf("after")].join("\n");
  checks.that("a transfer that was cut is resumed by counting its lines", mended === recordsOf("2").join("\n"));

  const other = await shell('records "offset=10&etag=0123456789abcdef0123456789abcdef"');
  checks.that("an ETag of another file is a 409", other.errors.includes("409"), other.errors);
}
