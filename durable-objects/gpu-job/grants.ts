/** A position in a node's hands, and which attempt of it that is. */
export type Held = [position: number, attempt: number];

/** What one request of a node was granted, as far as it is not settled. */
export interface Grant {
  seq: number;
  node: string;
  /** When all of it runs out, milliseconds since 1970. */
  expiresAt: number;
  /**
   * A node works one unit off after the other, whichever grant they are of: it is busy since its last acknowledgement, or
   * since its first grant where it held nothing. That is the latest time of all its grants.
   */
  busySince: number;
  /** How often the node was told of it. */
  answered: number;
  held: Held[];
}
type Row = Omit<Grant, "held"> & { held: string } & Record<string, SqlStorageValue>;

/** Units in nodes' hands: one row a request that was granted some, gone when all of them are settled. */
export class Grants {
  readonly #sql: SqlStorage;
  /**
   * No lease runs out before this, milliseconds since 1970: that any might is looked up then, and not with each request. A
   * node that is heard meanwhile makes it later than it says. Infinity: nothing is out. Null: not known since an eviction.
   */
  #earliest: number | null = null;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS lease_grant (
      seq INTEGER PRIMARY KEY,
      node TEXT NOT NULL,
      request TEXT NOT NULL,        -- the node's own name of the request: asked again, it is this grant
      expires_at INTEGER NOT NULL,
      busy_since INTEGER NOT NULL,
      answered INTEGER NOT NULL DEFAULT 1,
      held TEXT NOT NULL,           -- what is not settled of it: a JSON array of [position, attempt]
      UNIQUE (node, request)
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** @param silentAt when the node loses it if it says nothing more, milliseconds since 1970 */
  add({ seq, node, expiresAt, busySince, held }: Grant, request: string, silentAt: number): void {
    this.#sql.exec(
      "INSERT INTO lease_grant (seq, node, request, expires_at, busy_since, held) VALUES (?, ?, ?, ?, ?, ?)",
      seq,
      node,
      request,
      expiresAt,
      busySince,
      JSON.stringify(held),
    );
    if (this.#earliest !== null) this.#earliest = Math.min(this.#earliest, expiresAt, silentAt);
  }

  /** Writes a grant back; one of which all is settled goes. */
  keep({ seq, busySince, held }: Grant): void {
    if (held.length === 0) this.#sql.exec("DELETE FROM lease_grant WHERE seq = ?", seq);
    else {
      const text = JSON.stringify(held);
      this.#sql.exec("UPDATE lease_grant SET held = ?, busy_since = ? WHERE seq = ?", text, busySince, seq);
    }
  }

  /** Since when the node is busy, milliseconds since 1970; null: it holds nothing. */
  busySince(node: string): number | null {
    return this.#sql
      .exec<{ at: number | null }>("SELECT max(busy_since) AS at FROM lease_grant WHERE node = ?", node)
      .one().at;
  }

  /** The node has acknowledged something, and is busy with the rest from now on: the grant that runs out last says so. */
  restart(node: string, now: number): void {
    this.#sql.exec(
      "UPDATE lease_grant SET busy_since = ? WHERE seq = (SELECT max(seq) FROM lease_grant WHERE node = ?)",
      now,
      node,
    );
  }

  /** The node is told of it once more. */
  answerAgain({ seq }: Grant): void {
    this.#sql.exec("UPDATE lease_grant SET answered = answered + 1 WHERE seq = ?", seq);
  }

  /** How many units the node holds. */
  heldBy(node: string): number {
    return this.#sql
      .exec<{ n: number }>(
        "SELECT coalesce(sum(json_array_length(held)), 0) AS n FROM lease_grant WHERE node = ?",
        node,
      )
      .one().n;
  }

  ofRequest(node: string, request: string): Grant | null {
    return this.#select("node = ? AND request = ?", node, request)[0] ?? null;
  }

  numbered(seq: number): Grant | null {
    return this.#select("seq = ?", seq)[0] ?? null;
  }

  all(): Grant[] {
    return this.#select("1");
  }

  /** What has run out, or is in the hands of nodes that fell silent; nothing is looked up before it can be so. */
  lapsed(now: number, silenceMs: number): Grant[] {
    if (now < this.#earliestOf(silenceMs)) return [];
    this.#earliest = null;
    return this.#select(
      "expires_at <= ? OR node IN (SELECT name FROM node WHERE last_heard_at <= ?)",
      now,
      now - silenceMs,
    );
  }

  /** When a lease may run out next, milliseconds since 1970: never later than one does. Null while nothing is out. */
  dueAt(silenceMs: number): number | null {
    const earliest = this.#earliestOf(silenceMs);
    return earliest === Infinity ? null : earliest;
  }

  /** The first nodes, by name, that hold any. */
  nodes(limit: number): string[] {
    return this.#sql
      .exec<{ node: string }>("SELECT DISTINCT node FROM lease_grant ORDER BY node LIMIT ?", limit)
      .toArray()
      .map(({ node }) => node);
  }

  /** Of each node that holds units: how many, and since when it is busy. */
  open(): Map<string, { leased: number; busySince: number }> {
    const rows = this.#sql.exec<{ node: string; leased: number; busySince: number }>(
      `SELECT node, sum(json_array_length(held)) AS leased, max(busy_since) AS busySince FROM lease_grant GROUP BY node`,
    );
    return new Map(rows.toArray().map(({ node, ...open }) => [node, open]));
  }

  #earliestOf(silenceMs: number): number {
    this.#earliest ??=
      this.#sql
        .exec<{ at: number | null }>(
          "SELECT min(min(expires_at, last_heard_at + ?)) AS at FROM lease_grant JOIN node ON name = node",
          silenceMs,
        )
        .one().at ?? Infinity;
    return this.#earliest;
  }

  #select(condition: string, ...bound: (string | number)[]): Grant[] {
    return this.#sql
      .exec<Row>(
        `SELECT seq, node, expires_at AS expiresAt, busy_since AS busySince, answered, held FROM lease_grant
           WHERE ${condition} ORDER BY seq`,
        ...bound,
      )
      .toArray()
      .map((row) => ({ ...row, held: JSON.parse(row.held) as Held[] }));
  }
}

/** Takes a ticket's position, of which a grant has one attempt, out of it; false: it is not there any more. */
export function takeOut({ held }: Grant, { position }: { position: number }): boolean {
  const index = held.findIndex(([each]) => each === position);
  if (index !== -1) held.splice(index, 1);
  return index !== -1;
}
