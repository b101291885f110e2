/**
 * Compact JWS with HMAC-SHA-256 (RFC 7515, RFC 7518 section 3.2), and nothing else of JOSE: one algorithm, and a header of
 * exactly `alg`, `kid` and `typ`. So `alg: none`, `crit`, `jwk` and their kin are not handled, they are refused.
 */
import * as z from "zod";

import { failure } from "../failure.ts";
import { fail, ok, type Result } from "../result.ts";
import type { Sign } from "../sigv4/hmac.ts";

/** A capability travels in a URL's path, and longer URLs than 16 KiB are refused on the way. */
export const TOKEN_MAX_LENGTH = 16 * 1024;
/** Claims of this many bytes of JSON make a token that is short enough, with any header of ours. */
export const CLAIMS_MAX_BYTES = 12_000;

const headerSchema = z.strictObject({ alg: z.literal("HS256"), kid: z.string(), typ: z.string() });

export type JwtHeader = z.infer<typeof headerSchema>;

export interface Jwt {
  readonly header: JwtHeader;
  /** Not to be looked at before the signature has been checked. */
  readonly claims: unknown;
  readonly signingInput: Uint8Array;
  readonly signature: Uint8Array;
}

/** One answer for everything that is not a token of ours: who forges learns nothing from it. */
export const INVALID_TOKEN = fail(failure("invalid-token", "The token is not one of ours, or it is damaged."));

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Signs the claims; `kid` names the key that `sign` holds. */
export async function signJwt(sign: Sign, header: Omit<JwtHeader, "alg">, claims: object): Promise<string> {
  const protectedHeader: JwtHeader = { alg: "HS256", kid: header.kid, typ: header.typ };
  const signingInput = `${encodeJson(protectedHeader)}.${encodeJson(claims)}`;
  return `${signingInput}.${encodeBase64Url(await sign(encoder.encode(signingInput)))}`;
}

/** Takes a token apart. Checks its form alone: the signature is the caller's to check. */
export function decodeJwt(token: string): Result<Jwt> {
  if (token.length > TOKEN_MAX_LENGTH) return INVALID_TOKEN;
  const [head = "", body = "", mac = "", ...rest] = token.split(".");
  const header = headerSchema.safeParse(decodeBase64UrlJson(head));
  const claims = decodeBase64UrlJson(body);
  const signature = decodeBase64Url(mac);
  if (!header.success || claims === undefined || signature?.length !== 32 || rest.length > 0) return INVALID_TOKEN;
  return ok({ header: header.data, claims, signingInput: encoder.encode(`${head}.${body}`), signature });
}

const encodeJson = (value: object): string => encodeBase64Url(encoder.encode(JSON.stringify(value)));

/** What base64url of JSON says; undefined where it is neither UTF-8 nor JSON. */
export function decodeBase64UrlJson(text: string): unknown {
  const bytes = decodeBase64Url(text);
  if (!bytes) return undefined;
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch {
    return undefined; // Neither UTF-8 nor JSON.
  }
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const VALUES: ReadonlyMap<string, number> = new Map([...ALPHABET].map((char, value) => [char, value]));

/** RFC 4648, section 5, without padding. (`Uint8Array.toBase64` is not in Node 24.) */
export function encodeBase64Url(bytes: Uint8Array): string {
  let text = "";
  let held = 0;
  let bits = 0;
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xfff;
    for (bits += 8; bits >= 6;) text += ALPHABET[(held >> (bits -= 6)) & 63];
  }
  return bits > 0 ? text + ALPHABET[(held << (6 - bits)) & 63] : text;
}

/**
 * The bytes, or undefined when the text is not their one spelling: no padding, no whitespace, no other alphabet, and the
 * bits left over at the end are zero, so that no two texts are the same token.
 */
export function decodeBase64Url(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  let held = 0;
  let bits = 0;
  let length = 0;
  for (const char of text) {
    const value = VALUES.get(char);
    if (value === undefined) return undefined;
    held = ((held << 6) | value) & 0x3fff;
    bits += 6;
    if (bits >= 8) bytes[length++] = held >> (bits -= 8);
  }
  return bits < 6 && (held & ((1 << bits) - 1)) === 0 ? bytes : undefined;
}
