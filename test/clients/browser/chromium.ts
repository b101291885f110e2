/** The machine's own Chromium, without a window. Driven by a pipe: it opens no port, and ends when this process does. */
import { spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { sleep } from "../../harness/instance.ts";
import { connectDevTools, type DevTools } from "./devtools.ts";
import { openPage, type Page } from "./page.ts";

const PROGRAMS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const ENDS_WITHIN_MS = 60_000;

const FLAGS = [
  "--headless",
  "--remote-debugging-pipe",
  // It opens our own pages only, and neither root nor most containers can give it a sandbox.
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--no-first-run",
  // It talks to this machine only: no proxy, no updates, no name but localhost.
  "--no-proxy-server",
  "--disable-background-networking",
  "--disable-component-update",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
];

export interface Chromium {
  /** Such as `Chrome/141.0.7390.54`. */
  version: string;
  /** A page of a profile of its own: it shares no cache and no preflight with another one. */
  open(url: string): Promise<Page>;
  stop(): Promise<void>;
}

export async function startChromium(): Promise<Chromium> {
  const program = findChromium();
  const profile = mkdtempSync(join(tmpdir(), "penstock-chromium-"));
  const child = spawn(program, [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr?.on("data", (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-2_000)));
  const ended = new Promise<void>((settle) => {
    child.once("error", () => settle());
    child.once("close", () => settle());
  });
  const devtools = connectDevTools(child.stdio[3] as Writable, child.stdio[4] as Readable);
  const stop = async () => {
    await devtools.call("Browser.close").catch(() => undefined);
    await Promise.race([ended, sleep(ENDS_WITHIN_MS)]);
    child.kill("SIGKILL");
    await ended;
    rmSync(profile, { recursive: true, force: true });
  };
  try {
    const { product } = await devtools.call<{ product: string }>("Browser.getVersion");
    return { version: product, open: (url) => openInProfile(devtools, url), stop };
  } catch (error) {
    await stop();
    throw new Error(`${program} did not start: ${errors}`, { cause: error });
  }
}

async function openInProfile(devtools: DevTools, url: string): Promise<Page> {
  const { browserContextId } = await devtools.call<{ browserContextId: string }>("Target.createBrowserContext");
  const { targetId } = await devtools.call<{ targetId: string }>("Target.createTarget", {
    url: "about:blank",
    browserContextId,
  });
  // Nothing is written to this machine's disk, and each attempt is told.
  await devtools.call("Browser.setDownloadBehavior", { behavior: "deny", browserContextId, eventsEnabled: true });
  const target = { targetId, flatten: true };
  const { sessionId } = await devtools.call<{ sessionId: string }>("Target.attachToTarget", target);
  return openPage(devtools, sessionId, url);
}

function findChromium(): string {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const found = PROGRAMS.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable);
  if (found !== undefined) return found;
  throw new Error(
    `The browser tests need Chromium on the PATH, as one of ${PROGRAMS.join(", ")}. On Debian: ` +
      "apt-get install --no-install-recommends chromium",
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
