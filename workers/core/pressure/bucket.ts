/** A token bucket: `tokens` were in it at `at` (milliseconds since 1970). It never holds less than none. */
export interface Bucket {
  readonly tokens: number;
  readonly at: number;
}

/** What a bucket holds when nobody draws: the tokens of one second. `rate` is tokens a second. */
export const capacityOf = (rate: number): number => Math.max(1, rate);

export const fullBucket = (rate: number, now: number): Bucket => ({ tokens: capacityOf(rate), at: now });

/** The bucket as it is now. A clock that goes back adds nothing, and takes nothing. */
export function refill({ tokens, at }: Bucket, rate: number, now: number): Bucket {
  const seconds = Math.max(0, now - at) / 1000;
  return { tokens: Math.min(capacityOf(rate), tokens + seconds * rate), at: Math.max(at, now) };
}

/** Draws whole tokens, at most `wanted`; gives them back where that is below zero, as far as there is room. */
export function draw(bucket: Bucket, wanted: number, rate: number): { bucket: Bucket; drawn: number } {
  const drawn = wanted < 0 ? wanted : Math.floor(Math.min(wanted, bucket.tokens));
  return { bucket: { ...bucket, tokens: Math.min(capacityOf(rate), bucket.tokens - drawn) }, drawn };
}
