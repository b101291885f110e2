import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { configOf } from "../../../workers/adapters/config.ts";
import { createMemoryVersion } from "../../../workers/adapters/memory-versions.ts";
import { datasetOf } from "../../../workers/adapters/objects.ts";
import { tokensOf } from "../../../workers/adapters/tokens.ts";
import { failure } from "../../../workers/core/failure.ts";
import type { DatasetConfig } from "../../../workers/core/manifest/dataset.ts";
import { fail, ok } from "../../../workers/core/result.ts";
import { createDataPlane } from "../../../workers/gateway/read/data-plane.ts";
import type { SealedObject } from "../../../workers/ports/version-resolver.ts";
import { must } from "./run.ts";

export interface Answer {
  status: number;
  headers: Headers;
  bytes: Uint8Array;
}

export interface Stored {
  key: string;
  bytes: Uint8Array;
  /** As R2 has it, without quotes. */
  etag: string;
}

/** The three ways a capability is presented. */
export const DOORS = ["path", "header", "query"] as const;

export interface Ask {
  method?: "GET" | "HEAD";
  headers?: Record<string, string>;
  /** "live", or "3", the sealed version. */
  version?: "live" | "3";
  door?: (typeof DOORS)[number];
}

/** A dataset with its objects, and what its version 3 sealed. */
export interface TestDataset {
  config: DatasetConfig;
  sealed: Map<string, SealedObject>;
  put(key: string, bytes: Uint8Array, options?: R2PutOptions): Promise<Stored>;
  delete(key: string): Promise<void>;
}

export async function createDataset(name: string, more: Partial<DatasetConfig> = {}): Promise<TestDataset> {
  const at = new Date().toISOString();
  const config: DatasetConfig = {
    ...{ id: `ds_${name}`, name, createdAt: at, updatedAt: at, kind: "files", bucket: "DATASETS" },
    ...{ prefix: `${name}/`, read: "r2", schedule: null, liveTtlSeconds: 3600, ...more },
  };
  must(await datasetOf(env, name).configure(config));
  const bucket = config.bucket === "DATASETS" ? env.DATASETS : env.SYSTEM;
  const sealed = new Map<string, SealedObject>();
  return {
    config,
    sealed,
    async put(key, bytes, options = {}) {
      const { etag } = await bucket.put(config.prefix + key, bytes, options);
      return { key, bytes, etag };
    },
    delete: (key) => bucket.delete(config.prefix + key),
  };
}

/** Seals an object as it is. */
export function seal(dataset: TestDataset, { key, bytes, etag }: Stored): void {
  dataset.sealed.set(key, { size: bytes.length, etag });
}

export interface Reading {
  /** The environment that it sees. */
  env: Env;
  /** By version. */
  capabilities: Readonly<Record<"live" | "3", string>>;
  /** The answer, read to its end, when all work that it left behind is done. */
  read(key: string, ask?: Ask): Promise<Answer>;
  /** The answer as it begins; `settled` waits for the work behind it. */
  open(key: string, ask?: Ask): Promise<Opened>;
  /** As `read`, of any path of the data plane. */
  fetch(path: string, init?: RequestInit): Promise<Answer>;
}

interface Opened {
  response: Response;
  settled: () => Promise<void>;
}

/**
 * An isolate of its own, which knows nothing yet, in the one data centre of a test file. `more` replaces bindings and
 * variables that it sees.
 */
export async function startIsolate(dataset: TestDataset, more: Record<string, unknown> = {}): Promise<Reading> {
  const seen: Env = { ...env, ...more };
  const capabilities = { live: await mint(seen, dataset, "live"), "3": await mint(seen, dataset, "3") };
  const plane = createDataPlane(async (_env, { name }, version) =>
    version === "3" && name === dataset.config.name
      ? ok(createMemoryVersion(dataset.sealed))
      : fail(failure("unknown-version")),
  );
  const ask = async (path: string, init?: RequestInit): Promise<Opened> => {
    const ctx = createExecutionContext();
    const response = await plane(new Request(`https://penstock.example${path}`, init), seen, ctx);
    if (response === null) throw new Error(`${path} is not the data plane's.`);
    return { response, settled: () => waitOnExecutionContext(ctx) };
  };
  const open: Reading["open"] = (key, { method = "GET", headers = {}, version = "live", door = "path" } = {}) => {
    const capability = capabilities[version];
    const path = `${dataset.config.name}${version === "live" ? "" : `@${version}`}/${encodeURIComponent(key)}`;
    const paths = { path: `/t/${capability}/${path}`, header: `/d/${path}`, query: `/d/${path}?token=${capability}` };
    const authorization = door === "header" ? { authorization: `Bearer ${capability}` } : {};
    return ask(paths[door], { method, headers: { ...headers, ...authorization } });
  };
  const whole = async ({ response, settled }: Opened): Promise<Answer> => {
    const bytes = new Uint8Array(await response.arrayBuffer());
    await settled();
    return { status: response.status, headers: response.headers, bytes };
  };
  return {
    env: seen,
    capabilities,
    open,
    read: async (key, options) => whole(await open(key, options)),
    fetch: async (path, init) => whole(await ask(path, init)),
  };
}

function mint(seen: Env, { config: { id, name } }: TestDataset, ver: string): Promise<string> {
  const nbf = Math.floor(Date.now() / 1000);
  const claims = { ds: id, name, ver, pfx: [""], keys: [], ops: ["read" as const], job: null };
  return tokensOf(seen, must(configOf(seen))).mintCapability({
    ...claims,
    nbf,
    exp: nbf + 3600,
    jti: `${name}-${ver}`,
  });
}

/** What a client reads of a refusal. */
export const codeOf = ({ bytes }: Answer): unknown =>
  (JSON.parse(new TextDecoder().decode(bytes)) as { code?: unknown }).code;

/** Native: a loop over millions of bytes takes a second. */
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && crypto.subtle.timingSafeEqual(a, b);
