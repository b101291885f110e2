import type { CopyItem } from "../../workers/core/migration/message.ts";
import type { PartPlan } from "../../workers/core/migration/parts.ts";
import type { Proof } from "../../workers/core/manifest/row.ts";

export type UploadState = "waiting" | "planned" | "open" | "finishing" | "copied" | "failed" | "abandoned";

/** The condition of the partial index `unfinished`, which serves only queries that have it word for word. */
const UNFINISHED = "state IN ('waiting', 'planned', 'open', 'finishing')";

/** Bytes of one part message: what a consumer carries well within its life. */
export const PART_MESSAGE_BYTES = 512 * 1024 ** 2;

interface UploadRow extends Record<string, SqlStorageValue> {
  key: string;
  state: UploadState;
  /** JSON; "" once the upload has ended. */
  item: string;
  bytes: number;
  generation: number;
  upload_id: string | null;
  read_as: string | null;
  part_bytes: number | null;
  parts: number | null;
}

/** One object's upload as its consumers see it. */
export interface Upload {
  item: CopyItem;
  state: UploadState;
  generation: number;
  uploadId: string;
  /** The multipart ETag that the parts of the generation before made up as they were read, where that was in doubt. */
  readAs: string | null;
  plan: PartPlan;
}

export interface Claim {
  number: number;
  claim: number;
}

/** What a part that was sent is known by: R2's ETag of it, and what was computed of the bytes as they were read. */
export interface SentPart {
  /** Of a verification, which sends nothing, "". */
  etag: string;
  /** Hex. */
  md5: string;
  /** CRC-64/NVME in base64, where it was asked for. */
  crc64?: string | null;
}

/** One that is ready for `complete`. */
export type DonePart = { partNumber: number; etag: string; md5: string; crc64: string | null };

/**
 * Objects copied in parts. R2 keeps the last upload of a part number, so two consumers that send one part race on
 * what `complete` will find: a part is claimed before it is sent, for longer than a consumer can live, and only the
 * claim that holds it settles its ETag. A generation counts the uploads of one object: a message of an older one
 * finds nothing to do.
 */
export class Uploads {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Adds objects that wait for their turn; returns how many of them are new. */
  plan(items: readonly CopyItem[]): number {
    let added = 0;
    for (const item of items) {
      added += this.#sql
        .exec(
          "INSERT OR IGNORE INTO upload (key, state, item, bytes) VALUES (?, 'waiting', ?, ?) RETURNING key",
          item.key,
          JSON.stringify(item),
          item.size,
        )
        .toArray().length;
    }
    return added;
  }

  /**
   * Takes as many of the waiting objects as there is room for, so that those under way have no more than some `room` messages:
   * a page of a thousand very large objects would be two hundred thousand at once. One is always under way.
   */
  startWaiting(room: number): { item: CopyItem; generation: number }[] {
    // At its part messages, and two to begin and to end it.
    let messages = this.#sql
      .exec<{ n: number }>(
        `SELECT total(2 + bytes / ?) AS n FROM upload
           WHERE ${UNFINISHED} AND state IN ('planned', 'open', 'finishing')`,
        PART_MESSAGE_BYTES,
      )
      .one().n;
    const started: { item: CopyItem; generation: number }[] = [];
    const rows = this.#sql
      .exec<{ key: string; bytes: number }>(
        `SELECT key, bytes FROM upload WHERE ${UNFINISHED} AND state = 'waiting' LIMIT ?`,
        Math.max(1, Math.ceil((room - messages) / 2)),
      )
      .toArray();
    for (const { key, bytes } of rows) {
      if (messages > 0 && messages >= room) break;
      messages += 2 + bytes / PART_MESSAGE_BYTES;
      const { item, generation } = this.#sql
        .exec<{ item: string; generation: number }>(
          "UPDATE upload SET state = 'planned' WHERE key = ? RETURNING item, generation",
          key,
        )
        .one();
      started.push({ item: JSON.parse(item) as CopyItem, generation });
    }
    return started;
  }

  /** The upload, if it is still at this generation. */
  find(key: string, generation: number): Upload | null {
    const row = this.#sql
      .exec<UploadRow>("SELECT * FROM upload WHERE key = ? AND generation = ?", key, generation)
      .toArray()[0];
    if (row === undefined) return null;
    return {
      item: row.item === "" ? endedItem(row) : (JSON.parse(row.item) as CopyItem),
      state: row.state,
      generation: row.generation,
      uploadId: row.upload_id ?? "",
      readAs: row.read_as,
      plan: { partBytes: row.part_bytes ?? 0, parts: row.parts ?? 0 },
    };
  }

  /** Of two racing uploads the first recorded wins: false for the other. The item may have changed since the listing. */
  start(
    key: string,
    generation: number,
    opened: { uploadId: string; plan: PartPlan; item: CopyItem; readAs?: string },
  ): boolean {
    const { uploadId, plan, item, readAs = null } = opened;
    const cursor = this.#sql.exec(
      `UPDATE upload SET state = 'open', upload_id = ?, part_bytes = ?, parts = ?, item = ?, bytes = ?,
         read_as = coalesce(?, read_as) WHERE key = ? AND generation = ? AND state = 'planned' RETURNING key`,
      uploadId,
      plan.partBytes,
      plan.parts,
      JSON.stringify(item),
      item.size,
      readAs,
      key,
      generation,
    );
    return cursor.toArray().length === 1;
  }

  /** Claims the parts of first..last that are neither settled nor held by a claim that is still good. */
  claim(key: string, first: number, last: number, now: number, until: number): Claim[] {
    const taken = new Map(
      this.#sql
        .exec<{ number: number; claim: number; claimed_until: number; etag: string | null }>(
          "SELECT number, claim, claimed_until, etag FROM part WHERE key = ? AND number BETWEEN ? AND ?",
          key,
          first,
          last,
        )
        .toArray()
        .map((row) => [row.number, row]),
    );
    const claims: Claim[] = [];
    for (let number = first; number <= last; number++) {
      const held = taken.get(number);
      if (held !== undefined && (held.etag !== null || held.claimed_until > now)) continue;
      claims.push({ number, claim: (held?.claim ?? 0) + 1 });
    }
    this.#sql.exec(
      `INSERT OR REPLACE INTO part (key, number, claim, claimed_until)
         SELECT ?, value ->> 'number', value ->> 'claim', ? FROM json_each(?)`,
      key,
      until,
      JSON.stringify(claims),
    );
    return claims;
  }

  /** When the first of the claims on parts of first..last runs out; null: there is none that is good. */
  heldUntil(key: string, first: number, last: number, now: number): number | null {
    return this.#sql
      .exec<{ until: number | null }>(
        `SELECT min(claimed_until) AS until FROM part
           WHERE key = ? AND number BETWEEN ? AND ? AND etag IS NULL AND claimed_until > ?`,
        key,
        first,
        last,
        now,
      )
      .one().until;
  }

  /** Records a part's ETag; false when another claim holds it, and then this upload of the part may not count. */
  settlePart(key: string, { number, claim }: Claim, part: SentPart): boolean {
    const settled = this.#sql.exec(
      `UPDATE part SET etag = ?, md5 = ?, crc64 = ? WHERE key = ? AND number = ? AND claim = ? AND etag IS NULL
         RETURNING number`,
      part.etag,
      part.md5,
      part.crc64 ?? null,
      key,
      number,
      claim,
    );
    return settled.toArray().length === 1;
  }

  /** Gives claims back, so that the parts can be claimed again at once. */
  release(key: string, claims: readonly Claim[]): void {
    for (const { number, claim } of claims) {
      this.#sql.exec(
        "UPDATE part SET claimed_until = 0 WHERE key = ? AND number = ? AND claim = ? AND etag IS NULL",
        key,
        number,
        claim,
      );
    }
  }

  settledIn(key: string, first: number, last: number): number {
    return this.#sql
      .exec<{ n: number }>(
        "SELECT count(*) AS n FROM part WHERE key = ? AND number BETWEEN ? AND ? AND etag IS NOT NULL",
        key,
        first,
        last,
      )
      .one().n;
  }

  parts(key: string): DonePart[] {
    return this.#sql
      .exec<DonePart>("SELECT number AS partNumber, etag, md5, crc64 FROM part WHERE key = ? ORDER BY number", key)
      .toArray();
  }

  /** Gives up what is not finished. A `complete` that is under way may still settle it. */
  abandonAll(): void {
    this.#sql.exec("DELETE FROM part");
    this.#sql.exec(`UPDATE upload SET state = 'abandoned' WHERE ${UNFINISHED}`);
  }

  setFinishing(key: string): void {
    this.#sql.exec("UPDATE upload SET state = 'finishing' WHERE key = ? AND state = 'open'", key);
  }

  /** Ends the upload; its parts are of no use any more. */
  end(key: string, state: "copied" | "failed", proof: Proof | null, etag: string | null): void {
    // The item has done its work: of millions of objects it would be most of what is kept.
    this.#sql.exec(
      "UPDATE upload SET state = ?, proof = ?, etag = ?, item = '' WHERE key = ?",
      state,
      proof,
      etag,
      key,
    );
    this.#sql.exec("DELETE FROM part WHERE key = ?", key);
  }

  /** Starts the object again as a new generation. */
  restart(key: string, item: CopyItem, readAs: string | null): void {
    this.#sql.exec(
      `UPDATE upload SET state = 'planned', generation = generation + 1, upload_id = NULL, item = ?,
         bytes = ?, read_as = ? WHERE key = ?`,
      JSON.stringify(item),
      item.size,
      readAs,
      key,
    );
    this.#sql.exec("DELETE FROM part WHERE key = ?", key);
  }

  /** Uploads that R2 holds open. */
  get open(): { key: string; uploadId: string }[] {
    return this.#sql
      .exec<{ key: string; uploadId: string }>(
        `SELECT key, upload_id AS uploadId FROM upload
           WHERE state IN ('open', 'finishing') AND upload_id IS NOT NULL`,
      )
      .toArray();
  }

  /** The outbox rows of one upload's messages. */
  messagesOf(key: string, generation: number): number[] {
    return this.#sql
      .exec<{ seq: number }>(
        `SELECT seq FROM outbox WHERE type IN ('upload', 'part', 'finish')
           AND coalesce(body ->> '$.key', body ->> '$.item[0]') = ? AND body ->> '$.generation' = ?`,
        key,
        generation,
      )
      .toArray()
      .map(({ seq }) => seq);
  }
}

const endedItem = ({ key, bytes }: UploadRow): CopyItem => ({ key, size: bytes, etag: "", lastModified: 0, was: null });
