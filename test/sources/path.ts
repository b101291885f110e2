/** The demo's path, from check to incremental runs, with one server as the source. */
import { join } from "node:path";
import { startFreshInstance } from "../e2e/fresh-instance.ts";
import type { Checks } from "../harness/checks.ts";
import { type Client, createClient } from "../harness/client.ts";
import { ROOT } from "../harness/instance.ts";
import { checkChecksums } from "./checksums.ts";
import { largeObjects, MiB, nastyObject, PART_BYTES, smallObjects, type Uploaded } from "./corpus.ts";
import { checkDryRun, checkForecast, checkReport } from "./dry-run.ts";
import { type Expected, fillWith, THRESHOLD_BYTES } from "./expected.ts";
import { courtesyObjects, headerObjects } from "./headers.ts";
import { checkDeletes, checkIncremental } from "./incremental.ts";
import { NASTY_KEYS } from "./keys.ts";
import { checkOrigins } from "./origins.ts";
import { checkOddities, checkWholeBucket } from "./oddities.ts";
import { migrate, type Place, register, type Run } from "./place.ts";
import { checkR2 } from "./r2.ts";
import { checkManifest, checkReadBack } from "./read-back.ts";
import { ROOT_BUCKET, type SourceServer } from "./source-server.ts";
import { checkTampered, checkVerified } from "./verify.ts";

const SOURCE_PREFIX = "main/";
/** Of the ordinary objects, one in so many is read over `/t` too; all others special as they are. */
const READ_ONE_IN = 20;

/** `small`: how many small objects there are. */
export async function checkPath(checks: Checks, server: SourceServer, small: number): Promise<void> {
  const { name } = server;
  const source = { bucket: server.bucket, prefix: SOURCE_PREFIX };
  const ordinary = smallObjects(small);
  const special = specialObjects(server);
  let expected: Expected[] = [];
  await checks.section(`${name}: filling it`, async () => {
    expected = await fillWith(checks, server, source, { ordinary, special });
  });
  if (expected.length === 0) throw new Error(`${name} could not be filled`);
  const isOrdinary = new Set(ordinary.map(({ key }) => key));
  const toRead = expected.filter(({ key }, index) => !isOrdinary.has(key) || index % READ_ONE_IN === 0);

  const instance = await startFreshInstance({
    name: `sources-${name}`,
    sources: {
      server,
      root: { ...server, bucket: ROOT_BUCKET },
      "wrong-secret": { ...server, secretAccessKey: "not-the-secret" },
      "wrong-key": { ...server, accessKeyId: "NOTTHEACCESSKEYID" },
      "wrong-bucket": { ...server, bucket: "no-such-bucket" },
      "wrong-region": { ...server, region: "ap-south-1" },
    },
    vars: { MULTIPART_THRESHOLD_BYTES: String(THRESHOLD_BYTES), PART_BYTES: String(PART_BYTES) },
  });
  try {
    const client = createClient(instance.url, instance.tokens.admin);
    const r2 = { ...instance.secrets.r2, endpoint: `${instance.url}/cdn-cgi/local/r2/s3`, region: "auto" };
    const place: Place = {
      client,
      api: { url: instance.url, token: instance.tokens.admin },
      dataset: name,
      prefix: `${name}/`,
      r2,
      state: join(ROOT, ".penstock", `sources-${name}`, "state"),
    };
    await register(place, "server", SOURCE_PREFIX);
    await checks.section(`${name}: checking the source`, () => checkSource(checks, client, server));
    let dry: Run | null = null;
    await checks.section(`${name}: a dry run`, async () => {
      dry = await checkDryRun(checks, place, expected);
    });
    let isMigrated = false;
    await checks.section(`${name}: migrating`, async () => {
      isMigrated = await checkFirstRun(checks, place, expected, dry);
    });
    if (!isMigrated) throw new Error(`${name} was not migrated, so nothing of it can be looked at`);
    await checks.section(`${name}: what R2 has`, () => checkR2(checks, place, expected, toRead));
    await checks.section(`${name}: verifying it`, () => checkVerified(checks, place, expected));
    await checks.section(`${name}: reading it as a job does`, () => checkReadBack(checks, place, toRead));
    await checks.section(`${name}: incremental runs`, async () => {
      expected = await checkIncremental(checks, place, server, source, expected);
      expected = await checkDeletes(checks, place, server, source, expected);
    });
    await checks.section(`${name}: changed behind our back`, () => checkTampered(checks, place, expected));
    if (server.manners.keepsChecksums) {
      await checks.section(`${name}: its own checksums`, () => checkChecksums(checks, server, client));
    } else checks.note(`${name} keeps no checksums of objects`);
    await checks.section(`${name}: where copies came from`, () => checkOrigins(checks, server, client));
    await checks.section(`${name}: a whole bucket`, () => checkWholeBucket(checks, place, server));
    await checks.section(`${name}: what cannot be migrated`, () => checkOddities(checks, place, server));
  } finally {
    await instance.stop();
  }
}

function specialObjects({ manners }: SourceServer): Uploaded[] {
  const nasty = NASTY_KEYS.filter((key) => !manners.garbles(key)).map(nastyObject);
  return [...largeObjects(), ...nasty, ...headerObjects(), ...courtesyObjects()];
}

interface Check {
  ok: boolean;
  steps: { step: string; ok: boolean; code?: string; detail: string }[];
}

async function checkSource(checks: Checks, client: Client, server: SourceServer): Promise<void> {
  const ask = (source: string) => client.call<Check>("POST", `/v1/sources/${source}/check`);
  const { ok, steps } = await ask("server");
  checks.that("signing in, listing and reading succeed", ok && steps.every((step) => step.ok), steps);
  const bucket = (await ask("wrong-bucket")).steps.at(-1);
  checks.equal(
    "a bucket that is not there is source-no-bucket",
    [bucket?.step, bucket?.code],
    ["list", "source-no-bucket"],
  );
  if (!server.manners.checksSignatures) {
    checks.note(`${server.name} checks neither signature nor region: wrong ones are put to others only`);
    return;
  }
  for (const [source, code] of [
    ["wrong-secret", "source-bad-credentials"],
    ["wrong-key", "source-bad-credentials"],
    ["wrong-region", "source-wrong-region"],
  ] as const) {
    const step = (await ask(source)).steps.at(-1);
    checks.equal(`${source} is ${code}`, [step?.step, step?.code], ["sign-in", code]);
  }
}

/** Whether it ended as done. */
async function checkFirstRun(
  checks: Checks,
  place: Place,
  expected: readonly Expected[],
  dry: Run | null,
): Promise<boolean> {
  const begun = performance.now();
  const run = await migrate(place);
  const seconds = (performance.now() - begun) / 1000;
  const bytes = sizeOf(expected);
  const rate = `${Math.round(run.copied.objects / seconds)} objects/s, ${(bytes / MiB / seconds).toFixed(1)} MiB/s`;
  checks.note(`${run.copied.objects} objects, ${bytes} bytes in ${seconds.toFixed(1)} s: ${rate}`);
  checks.note(`proofs ${JSON.stringify(run.proofs)}, operations ${JSON.stringify(run.operations)}`);
  checks.equal("it ends as done, without a failure", [run.state, run.failed.objects, run.failures], ["done", 0, []]);
  if (run.problem !== null) checks.note(`${run.problem.code}: ${run.problem.detail}`);
  checks.equal("it lists every object and byte", [run.listed.objects, run.listed.bytes], [expected.length, bytes]);
  checks.equal("it copies every object and byte", [run.copied.objects, run.copied.bytes], [expected.length, bytes]);
  const counts = new Map<string, number>();
  for (const { proof } of expected) counts.set(proof, (counts.get(proof) ?? 0) + 1);
  const wrong = [...counts].filter(([proof, count]) => run.proofs[proof] !== count);
  checks.equal("it counts the proof that each must have", wrong, []);
  if (dry !== null) checkForecast(checks, dry, run);
  await checkReport(checks, place, run, expected, "copied");
  await checkManifest(checks, place, expected);
  return run.state === "done";
}

const sizeOf = (objects: readonly { bytes: Uint8Array }[]): number =>
  objects.reduce((sum, { bytes }) => sum + bytes.length, 0);
