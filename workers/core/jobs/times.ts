/**
 * When what was issued at `now` should be asked for anew: at three quarters of its life, which leaves a quarter for the
 * asking. Milliseconds since 1970, of whole seconds where `now` is.
 */
export const refreshAfter = (now: number, lifeSeconds: number): number => now + Math.floor(lifeSeconds * 0.75) * 1000;
