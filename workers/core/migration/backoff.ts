/** Seconds to wait before try number `tries` (from 1): 2, 8, 32, and at most two minutes. */
export const planSeconds = (tries: number): number => Math.min(120, 2 * 4 ** Math.max(0, tries - 1));
