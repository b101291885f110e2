import { Outbox } from "../outbox.ts";

/**
 * Progress, idempotent by primary key. Totals are sums over `page`, `batch` and `upload`, never increments; only
 * `operations` counts every attempt, as the bill does. Every row written is billed, so a page, a batch and a message
 * cost one each time something new is to be said of them.
 */
export const SCHEMA = [
  `CREATE TABLE IF NOT EXISTS run (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    problem TEXT,
    is_paused INTEGER NOT NULL DEFAULT 0,
    is_reported INTEGER NOT NULL DEFAULT 0, -- once the rest of the report was asked for
    told INTEGER NOT NULL DEFAULT 0,        -- 1 once the Directory lists the run, 2 once its end is known elsewhere
    waiting INTEGER NOT NULL DEFAULT 0,     -- uploads in the state waiting
    class_a INTEGER NOT NULL DEFAULT 0,
    class_b INTEGER NOT NULL DEFAULT 0,
    queue INTEGER NOT NULL DEFAULT 0,
    source_get INTEGER NOT NULL DEFAULT 0,
    source_list INTEGER NOT NULL DEFAULT 0,
    source_put INTEGER NOT NULL DEFAULT 0
  )`,
  // A listing page: the interval (after, up_to] of the source's keys. after is '' for the first. seq is the list
  // message's, which no other page can have. small and large are to be copied.
  `CREATE TABLE IF NOT EXISTS page (
    seq INTEGER PRIMARY KEY,
    after TEXT NOT NULL,
    up_to TEXT,
    skipped_objects INTEGER NOT NULL,
    skipped_bytes INTEGER NOT NULL,
    failed_objects INTEGER NOT NULL,
    failed_bytes INTEGER NOT NULL,
    small_objects INTEGER NOT NULL,
    small_bytes INTEGER NOT NULL,
    large_objects INTEGER NOT NULL,
    large_bytes INTEGER NOT NULL,
    large_parts INTEGER NOT NULL,
    extraneous_objects INTEGER NOT NULL,
    proofs TEXT,                            -- of what a verification found equal
    hazards TEXT,
    report TEXT                             -- the name of its part of the report
  )`,
  // What became of one message of objects, copied, read back or deleted; written once, when it is settled. Objects that
  // must be tried again are in a later one.
  `CREATE TABLE IF NOT EXISTS batch (
    seq INTEGER PRIMARY KEY,
    copied_objects INTEGER NOT NULL,
    copied_bytes INTEGER NOT NULL,
    grown_bytes INTEGER NOT NULL,
    failed_objects INTEGER NOT NULL,
    deleted_objects INTEGER NOT NULL,
    proofs TEXT NOT NULL,
    report TEXT
  )`,
  // One object copied in parts. state: waiting (for room), planned, open, finishing, copied, failed, abandoned.
  `CREATE TABLE IF NOT EXISTS upload (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    item TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 1,
    upload_id TEXT,
    part_bytes INTEGER,
    parts INTEGER,
    proof TEXT,
    etag TEXT,
    read_as TEXT,                           -- what its parts made up, read once before
    is_reported INTEGER NOT NULL DEFAULT 0  -- whether its line is in a part of the report
  ) WITHOUT ROWID`,
  `CREATE INDEX IF NOT EXISTS unfinished ON upload (state, bytes)
     WHERE state IN ('waiting', 'planned', 'open', 'finishing')`,
  // A part is claimed before it is sent; only the claim that holds it settles its ETag.
  `CREATE TABLE IF NOT EXISTS part (
    key TEXT NOT NULL,
    number INTEGER NOT NULL,
    claim INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL,
    etag TEXT,
    md5 TEXT,
    crc64 TEXT,
    PRIMARY KEY (key, number)
  ) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS failure (
    key TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    is_reported INTEGER NOT NULL
  ) WITHOUT ROWID`,
  // What may be deleted, and the ETag that a migration gave it; no more than one above what the run may delete.
  `CREATE TABLE IF NOT EXISTS extraneous (key TEXT PRIMARY KEY, etag TEXT NOT NULL) WITHOUT ROWID`,
  // Objects and bytes settled, by tens of seconds; the last minutes only.
  `CREATE TABLE IF NOT EXISTS pace (at INTEGER PRIMARY KEY, objects INTEGER NOT NULL, bytes INTEGER NOT NULL)`,
  // Parts of the report that belong to no page or batch.
  `CREATE TABLE IF NOT EXISTS report (name TEXT PRIMARY KEY) WITHOUT ROWID`,
  Outbox.SCHEMA,
];
