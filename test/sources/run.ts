/**
 * The demo's path with third-party S3 servers as the source: 20,000 small objects and whatever is nasty, every byte,
 * name and header compared. Needs Go and Python; installs the servers itself.
 *
 *     node test/sources/run.ts                    all servers, at once
 *     node test/sources/run.ts moto [objects]     one of them, with so many small objects
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createChecks } from "../harness/checks.ts";
import { PENSTOCK_FOLDER } from "./install.ts";
import { checkPath } from "./path.ts";
import { type SourceServer, startGofakes3, startMoto, startVersityGw } from "./servers.ts";

const SERVERS: ReadonlyMap<string, { start: () => Promise<SourceServer>; objects: number }> = new Map([
  ["versitygw", { start: startVersityGw, objects: 20_000 }],
  ["moto", { start: startMoto, objects: 20_000 }],
  // The third one for what it does otherwise: it is said in its file.
  ["gofakes3", { start: startGofakes3, objects: 2_000 }],
]);

/** Checks one server in this process. */
async function checkOne(name: string, objects: number | undefined): Promise<void> {
  const entry = SERVERS.get(name);
  if (entry === undefined) throw new Error(`There is no server "${name}": ${[...SERVERS.keys()].join(", ")}`);
  // Workers under wrangler dev find one another by a folder, and each that comes or goes has the others started anew,
  // which loses what is in their queues.
  process.env["WRANGLER_REGISTRY_PATH"] = join(PENSTOCK_FOLDER, `sources-${name}`, "registry");
  const checks = createChecks();
  let server: SourceServer | null = null;
  try {
    await checks.section(`${name}: installing and starting it`, async () => {
      server = await entry.start();
    });
    if (server !== null) await checkPath(checks, server, objects ?? entry.objects);
  } catch (error) {
    checks.that(`${name}: the run gets to its end`, false, error instanceof Error ? error.stack : error);
  } finally {
    await (server as SourceServer | null)?.stop();
  }
  checks.end();
}

/** Each in a process of its own, side by side: a server, a Worker and a client wait for one another most of the time. */
async function checkAll(): Promise<void> {
  const counts = await Promise.all([...SERVERS.keys()].map(checkInProcess));
  const passed = counts.reduce((sum, count) => sum + count.passed, 0);
  const failed = counts.reduce((sum, count) => sum + count.failed, 0);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
}

/** Prints its lines behind the server's name. A process that ends without a count has failed. */
async function checkInProcess(name: string): Promise<{ passed: number; failed: number }> {
  const child = spawn(process.execPath, [import.meta.filename, name], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<number | null>((settle) => child.once("close", (code) => settle(code)));
  let counts: { passed: number; failed: number } | null = null;
  for await (const line of createInterface({ input: child.stdout })) {
    console.log(`${name.padEnd(9)} | ${line}`);
    const match = /^(\d+) passed, (\d+) failed$/.exec(line);
    if (match !== null) counts = { passed: Number(match[1]), failed: Number(match[2]) };
  }
  const code = await ended;
  const { passed, failed } = counts ?? { passed: 0, failed: 1 };
  return { passed, failed: code === 0 ? failed : Math.max(failed, 1) };
}

const [name, objects] = process.argv.slice(2);
if (name === undefined) await checkAll();
else await checkOne(name, objects === undefined ? undefined : Number(objects));
