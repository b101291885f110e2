import { type Failure, failure } from "../../core/failure.ts";
import type { ManifestCursor } from "../../core/manifest/cursor.ts";
import type { ManifestQuery, Position, RowPage } from "../../core/manifest/query.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { RowSource } from "../rows-of.ts";

/** Rows that are asked for at once where a listing goes on by itself. */
const PAGE_ROWS = 4000;
/**
 * Pages of one answer: below an invocation's 10,000 subrequests, and its 300 seconds of processor time. A row takes some 10 µs to
 * be shown, and 45 to be signed (measured).
 */
export const PAGES_MAX = { shown: 3000, signed: 750 };

/** A listing under way: the next page each time, from one `seq` on. */
export class Listing {
  readonly #source: Pick<RowSource, "page">;
  readonly #query: ManifestQuery;
  #position: Position | null;
  #seq: number | null;
  #left: number;
  readonly #pagesMax: number;
  #pages = 0;
  #isOver = false;
  #first: RowPage | null = null;

  /** @param limit objects, removals and prefixes in all */
  constructor(
    source: Pick<RowSource, "page">,
    query: ManifestQuery,
    from: ManifestCursor | null,
    limit: number,
    pagesMax = PAGES_MAX.shown,
  ) {
    this.#pagesMax = pagesMax;
    this.#source = source;
    this.#query = query;
    this.#position = from?.position ?? null;
    this.#seq = from?.seq ?? null;
    this.#left = limit;
  }

  /** The dataset's `seq` when the listing began: what has changed since is what `changedSince` tells. */
  get seq(): number {
    return this.#seq ?? 0;
  }

  /** Where to go on; null at the end of all. */
  get cursor(): ManifestCursor | null {
    return this.#isOver ? null : { position: this.#position, seq: this.seq };
  }

  /** Why it ended before its end, or its limit; null where it did not. */
  get cutOff(): Failure | null {
    if (this.#isOver || this.#left <= 0) return null;
    return failure("listing-too-long", `The listing has more than ${this.#pagesMax} pages; go on from the cursor.`);
  }

  /** Reads the first page ahead, so that what is wrong with the question is known before the answer begins. */
  async begin(): Promise<Result<null>> {
    const page = await this.#read();
    if (!page.ok) return page;
    this.#first = page.value;
    return ok(null);
  }

  /** The next page; null where the limit, or the end, is reached. */
  async next(): Promise<Result<RowPage | null>> {
    const first = this.#first;
    this.#first = null;
    return first === null ? this.#read() : ok(first);
  }

  async #read(): Promise<Result<RowPage | null>> {
    if (this.#isOver || this.#left <= 0 || this.#pages >= this.#pagesMax) return ok(null);
    this.#pages++;
    const upTo = this.#query.sort.endsWith("changed") ? this.#seq : null;
    const query = { ...this.#query, changedUpTo: upTo };
    const ask = () => this.#source.page(query, this.#position, Math.min(this.#left, PAGE_ROWS));
    let page = await ask();
    // Once an answer has begun, its client cannot simply try again.
    if (!page.ok && page.failure.code === "store-unavailable" && this.#pages > 1) page = await ask();
    if (!page.ok) return fail(page.failure);
    const { rows, removed, prefixes, next, seq } = page.value;
    this.#seq ??= seq;
    this.#left -= rows.length + removed.length + prefixes.length;
    this.#position = next;
    this.#isOver = next === null;
    return page;
  }
}
