import * as z from "zod";
import { type KeyRing, parseMasterKeys } from "../core/capability/token.ts";
import { failure } from "../core/failure.ts";
import {
  MEMORY_DEFAULT_BYTES,
  MEMORY_MAX_BYTES,
  METER_FLUSH_DEFAULT_SECONDS,
  METER_FLUSH_MAX_SECONDS,
  PART_DEFAULT_BYTES,
  PART_MIN_BYTES,
  PUT_MAX_BYTES,
  TOMBSTONE_DEFAULT_DAYS,
  TOMBSTONE_MIN_DAYS,
} from "../core/limits.ts";
import { nameSchema } from "../core/manifest/dataset.ts";
import { type Prices, pricesSchema } from "../core/migration/estimate.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { type Credentials, type SourceConfig, sourceSchema } from "../core/source.ts";

/** The Worker's variables and secrets, read and checked. */
export interface Config {
  sources: ReadonlyMap<string, SourceConfig>;
  /** Dollars, by which migrations are estimated. */
  prices: Prices;
  /** The S3 names of the bucket bindings that datasets may use. */
  buckets: ReadonlyMap<string, string>;
  r2Endpoint: string;
  r2Credentials: Credentials;
  multipartThresholdBytes: number;
  partBytes: number;
  /** Seconds between an isolate's reports of what was read. */
  meterFlushSeconds: number;
  /** Bytes of blocks that an isolate keeps in memory. */
  blockMemoryBytes: number;
  corsOrigins: readonly string[];
  /** The data plane's own host, if it has one. */
  dataHost: string | null;
  apiTokens: readonly ApiToken[];
  keys: KeyRing;
}

export const ROLES = ["read", "submit", "admin"] as const;
export type Role = (typeof ROLES)[number];

const apiTokenSchema = z.strictObject({
  sha256: z.string().regex(/^[0-9a-f]{64}$/, "must be the hex SHA-256 of a token"),
  role: z.enum(ROLES),
  /** Limits the token to these datasets. */
  datasets: z.array(nameSchema).optional(),
});
export type ApiToken = z.infer<typeof apiTokenSchema>;

/** A variable is a TOML table where wrangler.toml has it, and JSON text where .dev.vars or `--var` replaces it. */
const table = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (typeof value === "string" ? parseJson(value) : value), schema);

const schema = z.object({
  SOURCES: table(z.record(nameSchema, sourceSchema)).default({}),
  PRICES: table(pricesSchema).prefault({}),
  BUCKETS: table(
    z.record(
      z.string().refine((name) => name !== "SYSTEM", "no dataset may name it"),
      z.string().min(1),
    ),
  ),
  R2_ENDPOINT: z
    .url({ protocol: /^https?$/ })
    .refine((text) => !text.endsWith("/"), "has no trailing slash")
    .refine((text) => !text.includes("//account-id."), "is the placeholder; name your account's endpoint"),
  R2_ACCESS_KEY_ID: z.string().min(1),
  R2_SECRET_ACCESS_KEY: z.string().min(1),
  MULTIPART_THRESHOLD_BYTES: z.coerce.number().int().min(PART_MIN_BYTES).max(PUT_MAX_BYTES).default(PART_DEFAULT_BYTES),
  PART_BYTES: z.coerce.number().int().min(PART_MIN_BYTES).max(PUT_MAX_BYTES).default(PART_DEFAULT_BYTES),
  SILENCE_SECONDS: z.coerce.number().int().min(1).max(86_400),
  BLOCK_MEMORY_BYTES: z.coerce.number().int().min(0).max(MEMORY_MAX_BYTES).default(MEMORY_DEFAULT_BYTES),
  TOMBSTONE_DAYS: z.coerce.number().int().min(TOMBSTONE_MIN_DAYS).max(3650).default(TOMBSTONE_DEFAULT_DAYS),
  METER_FLUSH_SECONDS: z.coerce.number().int().min(0).max(METER_FLUSH_MAX_SECONDS).default(METER_FLUSH_DEFAULT_SECONDS),
  CORS_ORIGINS: z.string().default("*"),
  DATA_HOST: z
    .string()
    .regex(/^([a-z0-9.-]+(:\d+)?)?$/i, "is a host, such as data.example.com")
    .toLowerCase()
    .default(""),
  API_TOKENS: table(z.array(apiTokenSchema)),
  MASTER_KEYS: z.string(),
});

const read = new WeakMap<Env, Result<Config>>();

/** Reads the configuration once per isolate. A refusal names the variable and the rule, never a secret's value. */
export function configOf(env: Env): Result<Config> {
  const known = read.get(env);
  if (known !== undefined) return known;
  const config = parseConfig(env);
  read.set(env, config);
  return config;
}

function parseConfig(env: Env): Result<Config> {
  const parsed = schema.safeParse(env);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = issue?.path.join(".") ?? "";
    return fail(
      failure("misconfigured", `${where}: ${issue?.message ?? "is wrong"}. See the comments in wrangler.toml.`),
    );
  }
  const keys = parseMasterKeys(parsed.data.MASTER_KEYS);
  if (!keys.ok) return keys;
  const vars = parsed.data;
  return ok({
    sources: new Map(Object.entries(vars.SOURCES)),
    prices: vars.PRICES,
    buckets: new Map(Object.entries(vars.BUCKETS)),
    r2Endpoint: vars.R2_ENDPOINT,
    r2Credentials: { accessKeyId: vars.R2_ACCESS_KEY_ID, secretAccessKey: vars.R2_SECRET_ACCESS_KEY },
    multipartThresholdBytes: vars.MULTIPART_THRESHOLD_BYTES,
    partBytes: vars.PART_BYTES,
    blockMemoryBytes: vars.BLOCK_MEMORY_BYTES,
    meterFlushSeconds: vars.METER_FLUSH_SECONDS,
    corsOrigins: vars.CORS_ORIGINS.split(",").map((origin) => origin.trim()),
    dataHost: vars.DATA_HOST === "" ? null : vars.DATA_HOST,
    apiTokens: vars.API_TOKENS,
    keys: keys.value,
  });
}

/** The credentials of a source: secrets `SOURCE_<NAME>_ACCESS_KEY_ID` and `SOURCE_<NAME>_SECRET_ACCESS_KEY`. */
export function credentialsOf(env: Env, source: string): Result<Credentials> {
  const base = `SOURCE_${source.toUpperCase().replaceAll("-", "_")}`;
  const accessKeyId = secret(env, `${base}_ACCESS_KEY_ID`);
  const secretAccessKey = secret(env, `${base}_SECRET_ACCESS_KEY`);
  if (accessKeyId === null || secretAccessKey === null) {
    const missing = accessKeyId === null ? `${base}_ACCESS_KEY_ID` : `${base}_SECRET_ACCESS_KEY`;
    return fail(failure("source-not-configured", `Set the secret ${missing}: wrangler secret put ${missing}`));
  }
  return ok({ accessKeyId, secretAccessKey });
}

/** The bucket behind a binding's name; null where there is no such binding. */
export function bucketOf(env: Env, binding: string): R2Bucket | null {
  const value: unknown = Reflect.get(env, binding);
  return typeof value === "object" && value !== null && "createMultipartUpload" in value ? (value as R2Bucket) : null;
}

function secret(env: Env, name: string): string | null {
  const value: unknown = Reflect.get(env, name);
  return typeof value === "string" && value !== "" ? value : null;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
