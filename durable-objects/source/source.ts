import { DurableObject } from "cloudflare:workers";
import { type Heard, inForce, isWorthWriting, type Learnt, NOTHING_LEARNT } from "../../workers/core/pressure/learn.ts";
import {
  type Ask,
  grantLease,
  type Lease,
  newSourceState,
  type SourceState,
} from "../../workers/core/pressure/lease.ts";
import { seenLately } from "../../workers/core/pressure/connections.ts";
import { type Limits, type LimitsPatch, mergePatches, patchedLimits } from "../../workers/core/pressure/limits.ts";

/** A source's limits, as they are now. */
export interface LimitsView {
  /** As configured, and changed since. */
  limits: Limits;
  /** What was changed since. */
  changed: LimitsPatch;
  /** What is left of the limits by what was learnt. */
  inForce: Limits;
  learnt: Learnt;
  /** Isolates that ask the source now. */
  holders: number;
}

const SCHEMA = `CREATE TABLE IF NOT EXISTS "limit" (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  changed TEXT NOT NULL,    -- a LimitsPatch
  learnt TEXT NOT NULL,     -- a Learnt
  written_at INTEGER NOT NULL
)`;

/**
 * One source's limiter, keyed by the source's name: all who ask the source, consumers and readers, lease tokens here.
 *
 * Tokens and holders are in memory, for they are worth a second: an object that was reset begins with one second's
 * tokens, and knows its holders again a second later, so a reset lets a source be asked for a second's work more. What
 * was changed and learnt are a row, which is written when it differs by much, never by a lease as such.
 *
 * What is configured comes with each call, so that the object reads no configuration. While two deployments run side by
 * side, the limits are those of the last who called.
 */
export class Source extends DurableObject<Env> {
  #state: SourceState;
  #changed: LimitsPatch = {};
  #written: Learnt = NOTHING_LEARNT;
  #writtenAt = 0;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#state = newSourceState(NOTHING_LEARNT);
    void ctx.blockConcurrencyWhile(async () => {
      ctx.storage.sql.exec(SCHEMA);
      const [row] = ctx.storage.sql
        .exec<{ changed: string; learnt: string; writtenAt: number }>(
          `SELECT changed, learnt, written_at AS writtenAt FROM "limit"`,
        )
        .toArray();
      if (row === undefined) return;
      this.#changed = JSON.parse(row.changed) as LimitsPatch;
      this.#written = JSON.parse(row.learnt) as Learnt;
      this.#writtenAt = row.writtenAt;
      this.#state = newSourceState(this.#written);
    });
  }

  /** Hears what became of requests, and gives tokens for more. */
  async lease(ask: Ask, heard: Heard, configured: Limits): Promise<Lease> {
    const now = Date.now();
    const { state, lease } = grantLease(this.#state, patchedLimits(configured, this.#changed), ask, heard, now);
    this.#state = state;
    if (isWorthWriting(state.learnt, this.#written, this.#writtenAt, now)) this.#write(now);
    return lease;
  }

  async limits(configured: Limits): Promise<LimitsView> {
    const limits = patchedLimits(configured, this.#changed);
    const { learnt, holders } = this.#state;
    const seen = seenLately(holders, Date.now()).size;
    return { limits, changed: this.#changed, inForce: inForce(limits, learnt), learnt, holders: seen };
  }

  /** Changes the limits. Who holds a lease asks again within two seconds, and gets one by the new limits. */
  async setLimits(patch: LimitsPatch, configured: Limits): Promise<LimitsView> {
    this.#changed = mergePatches(this.#changed, patch);
    this.#write(Date.now());
    return this.limits(configured);
  }

  #write(now: number): void {
    this.#written = this.#state.learnt;
    this.#writtenAt = now;
    this.ctx.storage.sql.exec(
      `INSERT OR REPLACE INTO "limit" (id, changed, learnt, written_at) VALUES (1, ?, ?, ?)`,
      JSON.stringify(this.#changed),
      JSON.stringify(this.#written),
      now,
    );
  }
}
