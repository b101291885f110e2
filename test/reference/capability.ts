/**
 * A plain reference for capabilities, on Node's own crypto: a compact JWS (RFC 7515) with HMAC-SHA-256 under a key that
 * HKDF derives for the kind of token.
 */
import { createHmac, hkdfSync } from "node:crypto";

/** Master keys by `kid`. */
export type Masters = Readonly<Record<string, Uint8Array>>;

/** Signs any header and claims, right or wrong, under the key that `master` gives for this purpose. */
export function signAs(master: Uint8Array, info: string, header: unknown, claims: unknown): string {
  const input = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${input}.${macOf(master, info, input)}`;
}

/** "ok", or the code under which a capability is refused at `nowMs`. */
export function referenceVerify(token: string, masters: Masters, nowMs: number): string {
  const parts = token.split(".");
  const [head, body] = parts.slice(0, 2).map(readJson);
  if (token.length > 16_384 || parts.length !== 3 || !isRecord(head) || body === undefined) return "invalid-token";
  const { alg, kid, typ } = head;
  const isHeader = sameNames(head, ["alg", "kid", "typ"]) && alg === "HS256" && typeof kid === "string";
  if (!isHeader || (typ !== "cap" && typ !== "job")) return "invalid-token";
  const master = Object.hasOwn(masters, kid) ? masters[kid] : undefined;
  if (master === undefined) return "invalid-token";
  // The one spelling of the one signature.
  if (parts[2] !== macOf(master, `penstock/${typ}/v1`, `${parts[0]}.${parts[1]}`)) return "invalid-token";
  if (typ === "job") return "wrong-token-kind";
  if (!isRecord(body) || !areClaims(body)) return "invalid-token";
  const [nbf, exp] = [Number(body["nbf"]), Number(body["exp"])];
  if (nowMs >= (exp + 60) * 1000) return "expired-token";
  return nowMs < (nbf - 60) * 1000 ? "token-not-yet-valid" : "ok";
}

/** Only to be asked of a token that verifies. */
export const claimsIn = (token: string): Record<string, unknown> =>
  readJson(token.split(".")[1] ?? "") as Record<string, unknown>;

function areClaims(body: Record<string, unknown>): boolean {
  const { ds, name, ver, pfx, keys, ops, job, nbf, exp, jti } = body;
  const isId = (id: unknown) => typeof id === "string" && id.length >= 1 && id.length <= 64;
  const isTime = (time: unknown) => Number.isSafeInteger(time) && Number(time) >= 0;
  if (!sameNames(body, ["ds", "name", "ver", "pfx", "keys", "ops", "job", "nbf", "exp", "jti"])) return false;
  if (!isId(ds) || !isId(jti) || !(job === null || isId(job)) || !isTime(nbf) || !isTime(exp)) return false;
  if (typeof name !== "string" || typeof ver !== "string") return false;
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(name) || !/^(live|[1-9]\d{0,9})$/.test(ver)) return false;
  if (!isTexts(pfx) || !isTexts(keys) || !isTexts(ops)) return false;
  const isScope = pfx.every((prefix) => prefix === "" || prefix.at(-1) === "/") && keys.every((key) => key !== "");
  const isOperations = ops.length > 0 && ops.every((operation) => operation === "read" || operation === "head");
  return isScope && isOperations && pfx.length + keys.length <= 64 && Buffer.byteLength(JSON.stringify(body)) <= 12_000;
}

function macOf(master: Uint8Array, info: string, input: string): string {
  const key = Buffer.from(hkdfSync("sha256", master, new Uint8Array(0), info, 32));
  return createHmac("sha256", key).update(input, "utf8").digest("base64url");
}

/** Undefined for what is not JSON in UTF-8 in the one base64url spelling of its bytes. */
function readJson(text: string): unknown {
  const bytes = Buffer.from(text, "base64url");
  if (bytes.toString("base64url") !== text) return undefined;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");
const sameNames = (record: object, names: readonly string[]): boolean =>
  Object.keys(record).sort().join() === [...names].sort().join();
