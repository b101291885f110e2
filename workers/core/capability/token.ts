/**
 * The two tokens that Penstock mints: a capability opens prefixes and keys of one dataset version, a job token one job's
 * own routes. Each kind is signed with a key of its own, derived from the master key by HKDF, so that neither is ever
 * accepted in the other's place, whatever its header says.
 */
import * as z from "zod";

import { failure } from "../failure.ts";
import { CAPABILITY_MAX_SCOPES, CLOCK_SKEW_SECONDS } from "../limits.ts";
import { fail, ok, type Result } from "../result.ts";
import type { Hmac, Sign } from "../sigv4/hmac.ts";
import { CLAIMS_MAX_BYTES, decodeBase64Url, decodeJwt, INVALID_TOKEN, signJwt } from "./jwt.ts";
import { isPrefix } from "./scope.ts";
import { VerifiedTokens, type VerifiedTokensBounds } from "./verified-tokens.ts";

/** "read" is GET and HEAD; "head" is HEAD alone, to look at what is there without its bytes. */
export const OPERATIONS = ["read", "head"] as const;
export type Operation = (typeof OPERATIONS)[number];

const id = z.string().min(1).max(64);
/** From `nbf` until before `exp`, in seconds since 1970 (RFC 7519, section 4.1). */
const validity = { nbf: z.int().nonnegative(), exp: z.int().nonnegative(), jti: id };

/** Claims that parse can be minted, and what is minted from them verifies. */
export const capabilityClaims = z
  .strictObject({
    /** The dataset's id, not its name: a name used again is another dataset. */
    ds: id,
    name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/),
    ver: z.string().regex(/^(live|[1-9][0-9]{0,8}(\.files)?)$/),
    pfx: z.array(z.string().refine(isPrefix, "a prefix is empty or ends in /")),
    keys: z.array(z.string().min(1)),
    ops: z.array(z.enum(OPERATIONS)).min(1),
    job: id.nullable(),
    ...validity,
  })
  .refine(({ pfx, keys }) => pfx.length + keys.length <= CAPABILITY_MAX_SCOPES, {
    error: `a capability holds at most ${CAPABILITY_MAX_SCOPES} prefixes and keys`,
  })
  .refine((claims) => new TextEncoder().encode(JSON.stringify(claims)).length <= CLAIMS_MAX_BYTES, {
    error: "the prefixes and keys are too long together for a token that travels in a URL",
  });

export const jobClaims = z.strictObject({ job: id, ds: id, ...validity });

export type CapabilityClaims = z.infer<typeof capabilityClaims>;
export type JobClaims = z.infer<typeof jobClaims>;

/** The master keys by `kid`. The current one signs, all verify, so that a key is replaced without a gap. */
export interface KeyRing {
  readonly current: string;
  readonly keys: ReadonlyMap<string, Uint8Array>;
}

/** Reads the secret `MASTER_KEYS`: `kid:base64url`, or two of them with a comma between, the one that signs first. */
export function parseMasterKeys(text: string | undefined): Result<KeyRing> {
  const entries = (text ?? "").trim().split(",");
  if (entries.length > 2) return misconfigured(`it holds ${entries.length} keys, and at most two may live at once`);
  const keys = new Map<string, Uint8Array>();
  for (const [index, entry] of entries.entries()) {
    const [kid = "", encoded = "", ...rest] = entry.split(":");
    const master = decodeBase64Url(encoded);
    const wrong =
      !/^[A-Za-z0-9_-]{1,16}$/.test(kid) || rest.length > 0
        ? "is not of the form kid:key, with a kid of 1 to 16 letters, digits, _ or -"
        : !master || master.length < 32
          ? "has a key that is not at least 32 bytes in base64url without padding"
          : keys.has(kid) && "has the kid of the one before";
    if (wrong) return misconfigured(`key ${index + 1} ${wrong}`);
    if (master) keys.set(kid, master);
  }
  const [current = ""] = keys.keys();
  return ok({ current, keys });
}

/** Says what is wrong without a word of what the secret holds: where the colon is missing, a "kid" is the key. */
function misconfigured(wrong: string): Result<never> {
  const mend = `Make one with: echo "k1:$(openssl rand -base64 32 | tr '+/' '-_' | tr -d =)" | wrangler secret put MASTER_KEYS`;
  return fail(failure("misconfigured", `The secret MASTER_KEYS is wrong: ${wrong}. ${mend}`, { field: "MASTER_KEYS" }));
}

type Kind = "cap" | "job";

const KINDS: Readonly<Record<Kind, { info: string; title: string }>> = {
  cap: { info: "penstock/cap/v1", title: "a capability" },
  job: { info: "penstock/job/v1", title: "a job token" },
};

export interface TokenDeps extends Pick<Hmac, "hmacKey"> {
  hkdf(master: Uint8Array, info: string): Promise<Uint8Array>;
  timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean;
}

export interface Tokens {
  mintCapability(claims: CapabilityClaims): Promise<string>;
  mintJobToken(claims: JobClaims): Promise<string>;
  verifyCapability(token: string, nowMs: number): Promise<Result<CapabilityClaims>>;
  /** As `verifyCapability`, at once, for a capability that was verified here before; null for any other. */
  recallCapability(token: string, nowMs: number): Result<CapabilityClaims> | null;
  verifyJobToken(token: string, nowMs: number): Promise<Result<JobClaims>>;
}

/**
 * Mints and verifies with the ring's keys. Each derived key is made when it is first needed, and kept; a token's
 * signature is checked once, and what it says remembered within the bounds, for as long as these keys are used.
 */
export function createTokens(deps: TokenDeps, ring: KeyRing, bounds?: VerifiedTokensBounds): Tokens {
  // Values are kept and not promises: a promise must not outlive the request that it began in, nor a fault be kept.
  const signers = new Map<string, Sign>();

  async function signer(kind: Kind, kid: string): Promise<Sign | undefined> {
    const name = `${kind}:${kid}`;
    const known = signers.get(name);
    const master = ring.keys.get(kid);
    if (known || !master) return known;
    const made = await deps.hmacKey(await deps.hkdf(master, KINDS[kind].info));
    signers.set(name, made);
    return made;
  }

  async function mint(kind: Kind, claims: CapabilityClaims | JobClaims): Promise<string> {
    const sign = await signer(kind, ring.current);
    if (!sign) throw new Error("The key ring has no key under its current kid."); // parseMasterKeys makes no such ring.
    return signJwt(sign, { kid: ring.current, typ: kind }, claims);
  }

  function verifier<C extends JobClaims | CapabilityClaims>(kind: Kind, schema: z.ZodType<C>) {
    const verified = new VerifiedTokens<C>(bounds);

    /** What is remembered needs its time looked at, and nothing else. */
    function recall(token: string, nowMs: number): Result<C> | null {
      const claims = verified.get(token);
      if (claims === undefined) return null;
      const timely = withinTime(claims, nowMs / 1000);
      if (!timely.ok && timely.failure.code === "expired-token") verified.forget(token);
      return timely;
    }

    /** In this order: form, signature, kind, claims, time. Nothing that is not signed by us gets past the second. */
    async function verify(token: string, nowMs: number): Promise<Result<C>> {
      const decoded = decodeJwt(token);
      if (!decoded.ok) return decoded;
      const { header, signingInput, signature } = decoded.value;
      if (header.typ !== "cap" && header.typ !== "job") return INVALID_TOKEN;
      const sign = await signer(header.typ, header.kid);
      if (!sign || !deps.timingSafeEqual(await sign(signingInput), signature)) return INVALID_TOKEN;
      if (header.typ !== kind) {
        const detail = `This needs ${KINDS[kind].title}, and was given ${KINDS[header.typ].title}.`;
        return fail(failure("wrong-token-kind", detail));
      }
      const claims = schema.safeParse(decoded.value.claims);
      if (!claims.success) return INVALID_TOKEN;
      const timely = withinTime(claims.data, nowMs / 1000);
      if (timely.ok) verified.remember(token, claims.data);
      return timely;
    }

    return { recall, verify: async (token: string, nowMs: number) => recall(token, nowMs) ?? verify(token, nowMs) };
  }

  const capabilities = verifier("cap", capabilityClaims);
  const jobTokens = verifier("job", jobClaims);
  return {
    mintCapability: (claims) => mint("cap", claims),
    mintJobToken: (claims) => mint("job", claims),
    verifyCapability: capabilities.verify,
    recallCapability: capabilities.recall,
    verifyJobToken: jobTokens.verify,
  };
}

/** Comparisons are such that a time which is not a number is refused. */
function withinTime<C extends { nbf: number; exp: number }>(claims: C, nowSeconds: number): Result<C> {
  if (!(nowSeconds < claims.exp + CLOCK_SKEW_SECONDS)) {
    return fail(failure("expired-token", "The token has expired; ask for a new one."));
  }
  if (!(nowSeconds >= claims.nbf - CLOCK_SKEW_SECONDS)) {
    return fail(failure("token-not-yet-valid", "The token is not valid yet; is this machine's clock right?"));
  }
  return ok(claims);
}
