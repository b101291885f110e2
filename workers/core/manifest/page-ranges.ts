/** Pages of a version's index that one read brings: from `first` to before `end`. */
export interface PageRange {
  first: number;
  end: number;
}

/**
 * The ranges that hold these pages (in any order, each once or more), in at most `readsMax` reads, of which there is at least
 * one. Pages beside one another are one read; where that is too many reads still, the smallest gaps are read in vain.
 */
export function planPageRanges(pages: readonly number[], readsMax: number): PageRange[] {
  const sorted = [...new Set(pages)].toSorted((a, b) => a - b);
  const gaps: { at: number; pages: number }[] = [];
  for (const [at, page] of sorted.entries()) {
    const between = page - (sorted[at - 1] ?? page - 1) - 1;
    if (between > 0) gaps.push({ at, pages: between });
  }
  const kept = gaps.toSorted((a, b) => b.pages - a.pages).slice(0, Math.max(0, readsMax - 1));
  const cuts = [0, ...kept.map(({ at }) => at).toSorted((a, b) => a - b), sorted.length];
  return cuts.slice(1).flatMap((cut, index) => {
    const [first, last] = [sorted[cuts[index] ?? 0], sorted[cut - 1]];
    return first === undefined || last === undefined ? [] : [{ first, end: last + 1 }];
  });
}

/** Pages that these ranges bring, wanted or not. */
export const pagesIn = (ranges: readonly PageRange[]): number =>
  ranges.reduce((sum, { first, end }) => sum + end - first, 0);
