/** One answer of the data plane after authorisation, as it began. */
export interface ReadEvent {
  datasetId: string;
  datasetName: string;
  /** The job whose capability was shown; null for one that was minted for a person or pipeline. */
  job: string | null;
  /** Where the bytes came from; `none` where the answer has none of an object: HEAD, 304, refusals. */
  outcome: "hit" | "miss" | "bypass" | "none";
  /** The answer's Content-Length: bytes of answers begun, for a client that leaves has not taken them all. */
  bytes: number;
  /** HTTP. */
  status: number;
}

/** What a tally counts, in the order in which Analytics Engine has it (double1, double2, ...): append, never reorder. */
export const TALLY_FIELDS = [
  "requests",
  "bytes",
  "hits",
  "misses",
  "bypasses",
  "none",
  "clientErrors",
  "serverErrors",
] as const;

/** Counts of reads. `hits`, `misses`, `bypasses` and `none` add up to `requests`; the errors (4xx, 5xx) are among them. */
export type Tally = Record<(typeof TALLY_FIELDS)[number], number>;

export const emptyTally = (): Tally => ({
  requests: 0,
  bytes: 0,
  hits: 0,
  misses: 0,
  bypasses: 0,
  none: 0,
  clientErrors: 0,
  serverErrors: 0,
});

/** Counts a read in. It runs in the path of every read: it changes the tally, and makes nothing. */
export function countRead(tally: Tally, { outcome, bytes, status }: ReadEvent): void {
  tally.requests += 1;
  // A HEAD has the length of what it does not send, and the text of a refusal is nothing of the dataset.
  if (outcome !== "none") tally.bytes += bytes;
  tally[FIELD_OF[outcome]] += 1;
  if (status >= 500) tally.serverErrors += 1;
  else if (status >= 400) tally.clientErrors += 1;
}

/** What `tally` has more than `earlier`, a copy of it from before. */
export function since(tally: Readonly<Tally>, earlier: Readonly<Tally>): Tally {
  const more = { ...tally };
  for (const field of TALLY_FIELDS) more[field] -= earlier[field];
  return more;
}

const FIELD_OF = { hit: "hits", miss: "misses", bypass: "bypasses", none: "none" } as const;
