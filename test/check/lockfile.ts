/**
 * Whether `npm ci` will work, on this platform and on others. npm drops an optional dependency from package-lock.json
 * when the registry in use does not have it, and then `npm ci` refuses that lockfile ("Missing: ... from lock file").
 * `node test/check/lockfile.ts --complete` puts them back: a version, which the parent fixes, and the platform.
 *
 * Nor may the lockfile say where a machine got its packages from.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Outcome, ROOT } from "./outcome.ts";

interface Platform {
  readonly cpu?: readonly string[] | undefined;
  readonly libc?: readonly string[] | undefined;
  readonly os?: readonly string[] | undefined;
}

interface LockEntry extends Platform {
  readonly version?: string;
  readonly dev?: boolean | undefined;
  readonly optional?: boolean;
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

interface Lock {
  packages: Record<string, LockEntry>;
}

const FILE = join(ROOT, "package-lock.json");
const SYSTEMS: Readonly<Record<string, string>> = {
  android: "android",
  darwin: "darwin",
  freebsd: "freebsd",
  linux: "linux",
  openharmony: "openharmony",
  win32: "win32",
  windows: "win32",
};
const CPUS: Readonly<Record<string, string>> = {
  "64": "x64",
  arm: "arm",
  arm64: "arm64",
  ia32: "ia32",
  ppc64: "ppc64",
  riscv64: "riscv64",
  s390x: "s390x",
  x64: "x64",
};

export async function checkLockfile(): Promise<Outcome> {
  const lock = readLock();
  const resolved = Object.entries(lock.packages)
    .filter(([, entry]) => entry.resolved !== undefined)
    .map(([path]) => `package-lock.json: ${path} has "resolved"; npm config set omit-lockfile-registry-resolved true`);
  const missing = missingOptionals(lock).map(
    ({ path }) => `package-lock.json: ${path} is missing; run node test/check/lockfile.ts --complete`,
  );
  return { problems: [...resolved, ...missing] };
}

const readLock = () => JSON.parse(readFileSync(FILE, "utf8")) as Lock;

/** The optional dependencies that no folder above their parent has, as Node looks for them. */
function missingOptionals({ packages }: Lock): { path: string; entry: LockEntry }[] {
  return Object.entries(packages).flatMap(([parent, { optionalDependencies = {}, dev }]) =>
    Object.entries(optionalDependencies).flatMap(([name, version]) => {
      if (foldersAbove(parent).some((folder) => `${folder}node_modules/${name}` in packages)) return [];
      const beside = parent.slice(0, parent.lastIndexOf("node_modules/"));
      const { cpu, libc, os } = platformOf(name);
      // In npm's own order; JSON leaves out what is undefined.
      const entry = { version, cpu, dev, libc, optional: true, os };
      return [{ path: `${beside}node_modules/${name}`, entry }];
    }),
  );
}

/** "node_modules/a/node_modules/b" -> itself, "node_modules/a/", "". */
function foldersAbove(path: string): string[] {
  const folders = path.split(/(?<=^|\/)node_modules\//).slice(1);
  return [...folders.keys(), folders.length].map((depth) =>
    folders
      .slice(0, depth)
      .map((folder) => `node_modules/${folder.replace(/\/$/, "")}/`)
      .join(""),
  );
}

/** Packages with a binary in them are named after the platform: `binding-linux-arm64-musl`, `darwin-x64`. */
function platformOf(name: string): Platform {
  const words = name.split(/[/-]/);
  const os = words.map((word) => SYSTEMS[word]).find((known) => known !== undefined);
  const cpu = words.map((word) => CPUS[word]).findLast((known) => known !== undefined);
  const libc = words.some((word) => word.startsWith("musl")) ? "musl" : words.includes("gnu") ? "glibc" : undefined;
  const only = (word: string | undefined) => (word === undefined ? undefined : [word]);
  return { cpu: only(cpu), libc: os === "linux" ? only(libc) : undefined, os: only(os) };
}

if (process.argv[1] === import.meta.filename && process.argv.includes("--complete")) {
  const lock = readLock();
  for (const { path, entry } of missingOptionals(lock)) lock.packages[path] = entry;
  const paths = Object.keys(lock.packages).sort((a, b) => a.localeCompare(b, "en"));
  const packages = Object.fromEntries(paths.map((path) => [path, lock.packages[path]]));
  writeFileSync(FILE, `${JSON.stringify({ ...lock, packages }, null, 2)}\n`);
}
