import { LIST_RANGES_MAX } from "../../workers/core/limits.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { midpoint } from "../../workers/core/migration/ranges.ts";
import type { Run } from "./run.ts";

/** Requests that one cut may cost. */
const PROBES_MAX = 6;

/**
 * Where the rest of a range, (after, end], is cut: at the "folders" below the source's prefix where there are some, else
 * where a probe finds keys on both sides. A probe that finds none beyond the middle has halved the range all the same,
 * and the next one looks in the lower half. Nothing is lost by a cut in the wrong place, but some balance: what fails is not tried again.
 */
export async function findCuts(run: Run, range: { after: string; end: string | null }): Promise<string[]> {
  const { source, filter } = run.spec;
  const folders = await foldersOf(run, range);
  if (folders.length > 0) return folders;
  let end = range.end;
  for (let probes = 0; probes < PROBES_MAX; probes++) {
    const middle = midpoint(range.after, end, filter.prefix);
    if (middle === null) return [];
    const page = await run.source.list({
      prefix: source.prefix + filter.prefix,
      after: source.prefix + middle,
      limit: 1,
    });
    if (!page.ok) return [];
    const found = page.value.objects[0]?.key.slice(source.prefix.length);
    if (found !== undefined && (end === null || compareUtf8(found, end) <= 0)) return [middle];
    end = middle;
  }
  return [];
}

/** Prefixes below the run's own, thinned out to as many as are walked side by side; each ends the range before it. */
async function foldersOf(run: Run, { after, end }: { after: string; end: string | null }): Promise<string[]> {
  const { source, filter } = run.spec;
  if (run.source.prefixes === undefined || end !== null) return [];
  const page = await run.source.prefixes({ prefix: source.prefix + filter.prefix, after: source.prefix + after });
  if (!page.ok) return [];
  const inside = page.value
    .map((prefix) => prefix.slice(source.prefix.length))
    .filter((prefix) => compareUtf8(prefix, after) > 0);
  // So many cuts make one range more.
  const step = Math.max(1, Math.ceil(inside.length / (LIST_RANGES_MAX - 1)));
  return inside.filter((_, i) => i % step === 0);
}
