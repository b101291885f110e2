import { failure } from "../core/failure.ts";
import type { Change, DiffSide, SealedFile } from "../core/manifest/version.ts";
import { compareUtf8 } from "../core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { groupsOf, lastFrom, readGroup } from "./sealed-files.ts";

/** Changes that one page may look at: what was changed back is none. */
const CHANGES_MAX = 20_000;

/**
 * What changed over a chain of versions, each the parent of the next, by key: of the changes from each to the next the first
 * says what was before, and the last what is after. Costs what the changes cost, however many objects there are.
 *
 * @param chain the files of each version after the first
 */
export async function pageOfChanges(
  env: Env,
  chain: readonly (readonly SealedFile[])[],
  after: string | null,
  limit: number,
): Promise<Result<{ changes: Change[]; next: string | null }>> {
  const walks = chain.map((files) => new Walk(env, files, after));
  const changes: Change[] = [];
  for (let [seen, last] = [0, after]; ; seen++) {
    for (const walk of walks) {
      const read = await walk.fill();
      if (!read.ok) return read;
    }
    const key = walks.flatMap(({ head }) => head?.key ?? []).toSorted(compareUtf8)[0];
    if (key === undefined) return ok({ changes, next: null });
    if (changes.length === limit || seen === CHANGES_MAX) return ok({ changes, next: last });
    const steps = walks.flatMap((walk) => (walk.head?.key === key ? (walk.take() ?? []) : []));
    const [first, latest] = [steps[0], steps.at(-1)];
    last = key;
    if (first === undefined || latest === undefined) continue;
    if (JSON.stringify(first.before) === JSON.stringify(latest.after)) continue;
    changes.push({ key, before: first.before, after: latest.after });
  }
}

/** The changes of one version in order, a row group at a time. */
class Walk {
  readonly #env: Env;
  readonly #groups: ReturnType<typeof groupsOf>;
  readonly #after: string | null;
  #at: number;
  #changes: Change[] = [];
  #next = 0;

  constructor(env: Env, files: readonly SealedFile[], after: string | null) {
    this.#env = env;
    this.#groups = groupsOf(files, "changes");
    this.#after = after;
    this.#at = after === null ? 0 : lastFrom(this.#groups, after);
  }

  get head(): Change | null {
    return this.#changes[this.#next] ?? null;
  }

  take(): Change | null {
    const { head } = this;
    this.#next++;
    return head;
  }

  /** Reads on where nothing is left of what was read. */
  async fill(): Promise<Result<null>> {
    while (this.head === null) {
      const group = this.#groups[this.#at++];
      if (group === undefined) return ok(null);
      const records = await readGroup(this.#env, group);
      if (!records.ok) return records;
      const after = this.#after;
      this.#changes = records.value.map(changeOf).filter(({ key }) => after === null || compareUtf8(key, after) > 0);
      this.#next = 0;
    }
    return ok(null);
  }
}

function changeOf(record: Readonly<Record<string, unknown>>): Change {
  const side = (name: "before" | "after"): DiffSide | null => {
    const etag = record[`${name}Etag`];
    if (typeof etag !== "string") return null;
    const text = (field: string) => {
      const value = record[`${name}${field}`];
      return typeof value === "string" ? value : null;
    };
    return { size: Number(record[`${name}Size`]), etag, stage: text("Stage"), category: text("Category") };
  };
  return { key: String(record["key"]), before: side("before"), after: side("after") };
}

/** A diff the other way round. */
export const reversed = ({ key, before, after }: Change): Change => ({ key, before: after, after: before });

/** Why two versions have no diff. */
export const noChain = (from: number, to: number) =>
  fail(failure("unknown-version", `Version ${from} is not one of those that ${to} was sealed after.`));
