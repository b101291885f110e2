/**
 * The demo's path with third-party S3 servers as the source: at least 2,000 objects, every byte compared. Needs Go and
 * Python; installs the servers itself.
 *
 *     node test/sources/run.ts
 */
import { createChecks } from "../harness/checks.ts";
import { checkPath, type Manners } from "./path.ts";
import { type SourceServer, startMoto, startVersityGw } from "./servers.ts";

const SERVERS: readonly { name: string; start: () => Promise<SourceServer>; manners: Manners }[] = [
  {
    name: "versitygw",
    start: startVersityGw,
    // Objects are files: no key beside a folder of that name, and 255 bytes between two slashes. Its listings ignore encoding-type=url.
    manners: {
      refuses: [/^keys\/marker$/, /^keys\/a-key\//, /n{256}/],
      foldsPaths: true,
      garbles: ["keys/control-\u0001\u001f"],
    },
  },
  {
    name: "moto",
    start: startMoto,
    // Its router takes no line break.
    manners: { refuses: [/\r\n/], foldsPaths: false, garbles: [] },
  },
];

const checks = createChecks();

for (const { name, start, manners } of SERVERS) {
  let server: SourceServer | null = null;
  try {
    await checks.section(`${name}: installing and starting it`, async () => {
      server = await start();
    });
    if (server !== null) await checkPath(checks, server, manners);
  } catch (error) {
    checks.that(`${name}: the run gets to its end`, false, error instanceof Error ? error.stack : error);
  } finally {
    await (server as SourceServer | null)?.stop();
  }
}
checks.end();
