/** The demo's path, from check to incremental runs, with one server as the source. */
import { posix } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startFreshInstance } from "../e2e/fresh-instance.ts";
import type { Checks } from "../harness/checks.ts";
import { type Client, createClient, followMigration, type Migration } from "../harness/client.ts";
import {
  COPIED_IN_PARTS,
  largeObjects,
  NASTY_KEYS,
  nastyObject,
  random,
  smallObjects,
  UPLOADED_IN_PARTS,
  type Uploaded,
  uploadOf,
} from "./corpus.ts";
import { fill, listKeys } from "./fill.ts";
import { checkManifest, checkMetadata, checkReadBack, type Expected, type Place } from "./read-back.ts";
import type { SourceServer } from "./servers.ts";

/** What a server makes of keys, by its own documentation or as seen; anything beyond is a failed check. */
export interface Manners {
  /** Keys under `keys/` that it may refuse to take. */
  refuses: readonly RegExp[];
  /** Whether it resolves dot segments and `//`, as file systems do. */
  foldsPaths: boolean;
  /** Keys that its listings show as other keys: nobody can migrate those. */
  garbles: readonly string[];
}

const MiB = 1024 * 1024;
const SOURCE_PREFIX = "main/";
const ODD_PREFIX = "odd/";
const LIVE_TTL_SECONDS = 1;
const READ_AGAIN_OBJECTS = 200;
const TIMEOUT_MS = 300_000;

export async function checkPath(checks: Checks, server: SourceServer, manners: Manners): Promise<void> {
  const { name } = server;
  let expected: Expected[] = [];
  await checks.section(`${name}: filling it`, async () => {
    expected = await fillServer(checks, server, manners);
  });
  if (expected.length === 0) throw new Error(`${name} could not be filled`);

  const instance = await startFreshInstance({
    name: `sources-${name}`,
    sources: {
      server,
      "wrong-secret": { ...server, secretAccessKey: "not-the-secret" },
      "wrong-key": { ...server, accessKeyId: "NOTTHEACCESSKEYID" },
      "wrong-bucket": { ...server, bucket: "no-such-bucket" },
      "wrong-region": { ...server, region: "ap-south-1" },
    },
    vars: { MULTIPART_THRESHOLD_BYTES: String(8 * MiB), PART_BYTES: String(5 * MiB) },
  });
  try {
    const client = createClient(instance.url, instance.tokens.admin);
    const r2 = { ...instance.secrets.r2, endpoint: `${instance.url}/cdn-cgi/local/r2/s3` };
    const place: Place = { client, dataset: name, prefix: `${name}/`, r2 };
    await checks.section(`${name}: checking the source`, () => checkSource(checks, client, server));
    await checks.section(`${name}: migrating`, () => checkFirstRun(checks, place, expected));
    await checks.section(`${name}: reading everything back`, async () => {
      await checkReadBack(checks, place, expected);
      await checkMetadata(checks, place, expected);
    });
    await checks.section(`${name}: incremental runs`, () => checkIncremental(checks, place, server, expected));
    await checks.section(`${name}: keys that cannot be migrated`, () => checkOdd(checks, client, server, manners));
  } finally {
    await instance.stop();
  }
}

/** Returns what the server really holds under the prefix; what it refused or renamed is reported by name. */
async function fillServer(checks: Checks, server: SourceServer, manners: Manners): Promise<Expected[]> {
  const begun = performance.now();
  const ordinary = [...smallObjects(), ...largeObjects()];
  const put = await fill(server, SOURCE_PREFIX, ordinary);
  const seconds = (performance.now() - begun) / 1000;
  checks.note(`${put.etags.size} objects in ${seconds.toFixed(1)} s`);
  checks.equal("it takes every ordinary object", [...put.refused], []);

  const nasty = NASTY_KEYS.filter((key) => !manners.garbles.includes(key)).map(nastyObject);
  const putNasty = await fill(server, SOURCE_PREFIX, nasty, { inOrder: true });
  for (const [key, said] of putNasty.refused) checks.note(`refused: ${shown(key)}, with ${said}`);
  const unexpected = [...putNasty.refused.keys()].filter((key) => !manners.refuses.some((rule) => rule.test(key)));
  checks.equal("it refuses no nasty key but those it is known to refuse", unexpected, []);

  const etags = new Map([...put.etags, ...putNasty.etags]);
  const expected: Expected[] = [...ordinary, ...nasty].flatMap((uploaded) => {
    const etag = etags.get(uploaded.key);
    if (etag === undefined) return [];
    const key = manners.foldsPaths ? posix.normalize(uploaded.key) : uploaded.key;
    if (key !== uploaded.key) checks.note(`kept under another name: ${shown(uploaded.key)} as ${shown(key)}`);
    return [{ ...uploaded, key, etag }];
  });
  const keys = expected.map(({ key }) => key);
  checks.equal("it lists what was put", (await listKeys(server, SOURCE_PREFIX)).sort(), keys.sort());
  return expected;
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
  if (server.name === "moto") {
    checks.note("moto checks neither signature nor region: wrong ones are put to versitygw only");
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

async function checkFirstRun(checks: Checks, place: Place, expected: readonly Expected[]): Promise<void> {
  await register(place.client, place.dataset, place.prefix, SOURCE_PREFIX);
  const begun = performance.now();
  const run = await migrate(place.client, place.dataset);
  const seconds = (performance.now() - begun) / 1000;
  const bytes = expected.reduce((sum, object) => sum + object.bytes.length, 0);
  const rate = `${Math.round(run.copied.objects / seconds)} objects/s, ${(bytes / MiB / seconds).toFixed(1)} MiB/s`;
  checks.note(`${run.copied.objects} objects, ${bytes} bytes in ${seconds.toFixed(1)} s: ${rate}`);
  checks.note(`proofs ${JSON.stringify(run.proofs)}, operations ${JSON.stringify(run.operations)}`);
  checks.equal("it ends as done, without a failure", [run.state, run.failed.objects, run.failures], ["done", 0, []]);
  checks.equal("it copies every object and byte", [run.copied.objects, run.copied.bytes], [expected.length, bytes]);

  const rows = await checkManifest(checks, place, expected);
  const proofOf = (key: string) => rows.find((row) => row.key === key)?.proof;
  checks.equal(
    "what was uploaded in parts has the proof etag: the part size was found again",
    proofOf(UPLOADED_IN_PARTS),
    "etag",
  );
  checks.equal("what was uploaded at once and copied in parts has the proof parts", proofOf(COPIED_IN_PARTS), "parts");
  const others = rows.filter(({ key }) => key !== UPLOADED_IN_PARTS && key !== COPIED_IN_PARTS);
  checks.equal(
    "everything else has the proof md5",
    others.filter(({ proof }) => proof !== "md5"),
    [],
  );
}

async function checkIncremental(checks: Checks, place: Place, server: SourceServer, before: readonly Expected[]) {
  const again = await migrate(place.client, place.dataset);
  checks.equal(
    "a second run copies nothing",
    [again.state, again.copied.objects, again.failed.objects],
    ["done", 0, 0],
  );
  checks.equal("it skips every object", again.skipped.objects, before.length);

  const old = before.find(({ key, bytes }) => key.startsWith("precip/") && bytes.length > 1000);
  if (old === undefined) throw new Error("There is no object to change");
  // Of the same size, so that the size alone does not tell.
  const changed = { ...old, bytes: random(old.bytes.length, 99_991) };
  const added = uploadOf("precip/added-later", random(777, 99_992), "application/octet-stream");
  const { etags } = await fill(server, SOURCE_PREFIX, [changed, added]);
  const withEtag = (uploaded: Uploaded): Expected => ({ ...uploaded, etag: etags.get(uploaded.key) ?? "" });
  const third = await migrate(place.client, place.dataset);
  checks.equal(
    "after one change and one addition a run copies exactly two",
    [third.state, third.copied.objects],
    ["done", 2],
  );
  checks.equal("it skips all others", [third.skipped.objects, third.failed.objects], [before.length - 1, 0]);

  await sleep(LIVE_TTL_SECONDS * 1000 + 100);
  const now = [withEtag(changed), withEtag(added), ...before.filter(({ key }) => key !== changed.key)];
  // Those two, and enough of the others.
  await checkReadBack(checks, place, now.slice(0, READ_AGAIN_OBJECTS));
  await checkManifest(checks, place, now);
}

/** Recorded failures that name the key; the migration goes on past them. */
async function checkOdd(checks: Checks, client: Client, server: SourceServer, manners: Manners): Promise<void> {
  const garbled = manners.garbles;
  const conflict = ["\u00e9.json", "e\u0301.json"];
  const keys = ["fine.json", ...conflict, ...garbled];
  const { refused } = await fill(server, ODD_PREFIX, keys.map(nastyObject));
  checks.equal("it takes them", [...refused], []);
  await register(client, "odd", "odd/", ODD_PREFIX);
  const run = await migrate(client, "odd");
  checks.equal("the run ends as done, with the good key copied", [run.state, run.copied.objects], ["done", 1]);
  checks.equal(
    "two keys that are one in Unicode NFC are a key-conflict, and neither is copied",
    run.failures
      .filter(({ code }) => code === "key-conflict")
      .map(({ key }) => key)
      .sort(),
    conflict.sort(),
  );
  for (const { key, code } of run.failures) checks.note(`${shown(key)}: ${code}`);
  if (garbled.length > 0) {
    const missing = run.failures.filter(({ code }) => code === "source-object-missing");
    checks.equal("a key that the listing garbles is a source-object-missing", missing.length, garbled.length);
  }
  checks.equal("no other failure", run.failed.objects, conflict.length + garbled.length);
}

async function register(client: Client, dataset: string, prefix: string, sourcePrefix: string): Promise<void> {
  const source = { name: "server", prefix: sourcePrefix };
  await client.call("PUT", `/v1/datasets/${dataset}`, {
    kind: "files",
    prefix,
    source,
    liveTtlSeconds: LIVE_TTL_SECONDS,
  });
}

async function migrate(client: Client, dataset: string): Promise<Migration> {
  const { id } = await client.call<{ id: string }>("POST", "/v1/migrations", { dataset });
  return followMigration(client, id, { timeoutMs: TIMEOUT_MS });
}

const shown = (key: string): string => JSON.stringify(key.length > 80 ? `${key.slice(0, 30)}… (${key.length})` : key);
