import * as z from "zod";

/** What a source is asked for at most, by all who ask it together; null: as much as anybody likes. */
export interface Limits {
  /** GET, HEAD and list requests alike. */
  requestsPerSecond: number | null;
  /** Of bodies, as they are announced. */
  bytesPerSecond: number | null;
  /** Requests under way at once, to the end of their bodies. */
  connections: number | null;
}

/**
 * Limits to begin with. What is learnt goes below them and never above, so a number too high costs some refusals until
 * it is learnt, and one too low costs speed until somebody raises it.
 */
export const PRESETS = {
  // Unknown servers that speak S3. A guess: near what the services below publish, AWS apart.
  s3: { requestsPerSecond: 1000, bytesPerSecond: null, connections: null },
  // 5,500 GET/HEAD a second and prefix, more once S3 has split the prefix ("Best practices design patterns: optimizing
  // Amazon S3 performance"). A bucket with many busy prefixes takes more; the limit is for one.
  aws: { requestsPerSecond: 5500, bytesPerSecond: null, connections: null },
  // 900 GET/s a bucket, a soft limit ("Object Storage - Technical limitations"). The same page has 1 Gbps a connection,
  // which the network holds by itself.
  ovh: { requestsPerSecond: 900, bytesPerSecond: null, connections: null },
  // A server of one's own: MinIO refuses (503) what exceeds a number of requests at once that it derives from its memory
  // (docs/throttle). Both numbers are guesses, for a few nodes with disks; raise them for flash.
  minio: { requestsPerSecond: 2000, bytesPerSecond: null, connections: 256 },
  // Wasabi publishes limits of its account API alone. A guess: as B2.
  wasabi: { requestsPerSecond: 500, bytesPerSecond: null, connections: null },
  // 500 requests a second, what new accounts begin with; 503 SlowDown beyond, with Retry-After at times ("Rate Limits").
  b2: { requestsPerSecond: 500, bytesPerSecond: null, connections: null },
} as const satisfies Record<string, Limits>;

export type PresetName = keyof typeof PRESETS;

export const presetSchema = z.enum(Object.keys(PRESETS) as [PresetName, ...PresetName[]]);

/** Nobody waits for less than a request a second, and nobody has a billion: outside of these it is a slip of the hand. */
const rules = {
  requestsPerSecond: z.number().min(1).max(1_000_000),
  bytesPerSecond: z.number().int().min(65_536).max(1_000_000_000_000),
  connections: z.number().int().min(1).max(100_000),
};

/** TOML has no null, so the configuration says "none" for it. */
const orNone = (rule: z.ZodNumber) =>
  z.union([rule, z.null(), z.literal("none")]).transform((value) => (value === "none" ? null : value));

/** `limits` of a source in the configuration. */
export const limitsSchema = z.strictObject({
  requestsPerSecond: orNone(rules.requestsPerSecond).optional(),
  bytesPerSecond: orNone(rules.bytesPerSecond).optional(),
  connections: orNone(rules.connections).optional(),
});

/** What an operator changes while it runs. A preset replaces all that was changed before; null: by the configuration's. */
export const limitsPatchSchema = z.strictObject({
  preset: presetSchema.nullable().optional(),
  requestsPerSecond: rules.requestsPerSecond.nullable().optional(),
  bytesPerSecond: rules.bytesPerSecond.nullable().optional(),
  connections: rules.connections.nullable().optional(),
});

export type LimitsPatch = z.infer<typeof limitsPatchSchema>;

type SomeLimits = { [Name in keyof Limits]?: number | null | undefined };

/** The limits that the configuration of a source gives. */
export const configuredLimits = (source: {
  preset?: PresetName | undefined;
  limits?: SomeLimits | undefined;
}): Limits => overlay(PRESETS[source.preset ?? "s3"], source.limits ?? {});

/** What was changed so far and is changed now, as one change of the configuration. */
export function mergePatches(earlier: LimitsPatch, patch: LimitsPatch): LimitsPatch {
  const { preset, ...limits } = patch;
  const kept = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
  if (preset === undefined) return { ...earlier, ...kept };
  return preset === null ? kept : { preset, ...kept };
}

/** The limits of a source whose configuration was changed so. */
export function patchedLimits(configured: Limits, { preset, ...limits }: LimitsPatch): Limits {
  return overlay(preset === undefined || preset === null ? configured : PRESETS[preset], limits);
}

export const isUnlimited = ({ requestsPerSecond, bytesPerSecond, connections }: Limits): boolean =>
  requestsPerSecond === null && bytesPerSecond === null && connections === null;

const overlay = (below: Limits, above: SomeLimits): Limits => ({
  requestsPerSecond: above.requestsPerSecond === undefined ? below.requestsPerSecond : above.requestsPerSecond,
  bytesPerSecond: above.bytesPerSecond === undefined ? below.bytesPerSecond : above.bytesPerSecond,
  connections: above.connections === undefined ? below.connections : above.connections,
});
