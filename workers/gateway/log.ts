/**
 * A path as it may be logged: a capability in it is left out. Queries are left out whole, since tokens and signatures
 * travel in them.
 */
export function loggable(rawUrl: string): string {
  const path = rawUrl.replace(/^[a-z]+:\/\/[^/?#]*/i, "").replace(/[?#].*$/s, "");
  return path.replace(/^\/t\/[^/]*/, "/t/…");
}
