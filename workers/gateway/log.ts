/**
 * What our tokens look like wherever a client has put them: a JWT's header is JSON, and `{"` in base64url is `eyJ`; R2's
 * session tokens are base64 of `jwt/` and a JWT, in which a slash may stand.
 */
const TOKEN = /eyJ[\w-]*(?:(?:\.|%2e)[\w-]*)*|and0L2V5[\w+/=%-]*/gi;

/**
 * A path as it may be logged: a capability in it is left out, and so is any token of ours that was put where none
 * belongs, beside a doubled slash or at another door. Queries are left out whole, since tokens and signatures travel in
 * them.
 */
export function loggable(rawUrl: string): string {
  const path = rawUrl.replace(/^[a-z]+:\/\/[^/?#]*/i, "").replace(/[?#].*$/s, "");
  return path.replace(/^\/+(?:t|%74)\/+[^/]*/i, "/t/…").replace(TOKEN, "…");
}
