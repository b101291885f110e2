/** Crockford's base 32: no I, L, O or U. */
const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/**
 * `<kind>_<ULID>`: 48 bits of time in milliseconds, then 80 of chance, so that ids sort by the time they were made
 * (github.com/ulid/spec).
 */
export function newId(kind: "ds" | "mig" | "job" | "walk", now: number): string {
  const chance = crypto.getRandomValues(new Uint8Array(16));
  let id = "";
  for (let time = now, i = 0; i < 10; i++, time = Math.floor(time / 32)) id = (DIGITS[time % 32] ?? "") + id;
  for (const byte of chance) id += DIGITS[byte % 32] ?? "";
  return `${kind}_${id}`;
}
