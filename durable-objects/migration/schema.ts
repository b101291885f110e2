import { Outbox } from "../outbox.ts";

/**
 * Progress, idempotent by primary key. Totals are sums over `page`, `batch` and `upload`, never increments; only
 * `operations` counts every attempt, as the bill does.
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
    told INTEGER NOT NULL DEFAULT 0,      -- 1 once the Directory lists the run, 2 once its end is known elsewhere
    class_a INTEGER NOT NULL DEFAULT 0,
    class_b INTEGER NOT NULL DEFAULT 0,
    queue INTEGER NOT NULL DEFAULT 0,
    source_get INTEGER NOT NULL DEFAULT 0,
    source_list INTEGER NOT NULL DEFAULT 0
  )`,
  // A listing page: the interval (after, up_to] of the source's keys. after is '' for the first. seq is the list
  // message's, which no other page can have.
  `CREATE TABLE IF NOT EXISTS page (
    seq INTEGER PRIMARY KEY,
    after TEXT NOT NULL,
    up_to TEXT,
    is_last INTEGER NOT NULL,
    skipped_objects INTEGER NOT NULL,
    skipped_bytes INTEGER NOT NULL,
    failed_objects INTEGER NOT NULL,
    failed_bytes INTEGER NOT NULL
  )`,
  // An interval (after, up_to] of one page, copied as one message. Objects that must be tried again move to a batch of
  // their own when it settles, so that the sums stay right.
  `CREATE TABLE IF NOT EXISTS batch (
    id INTEGER PRIMARY KEY,
    after TEXT NOT NULL,
    up_to TEXT NOT NULL,
    tries INTEGER NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    copied_objects INTEGER NOT NULL DEFAULT 0,
    copied_bytes INTEGER NOT NULL DEFAULT 0,
    failed_objects INTEGER NOT NULL DEFAULT 0,
    proofs TEXT NOT NULL DEFAULT '{}'
  )`,
  // One object copied in parts. state: planned, open, finishing, copied, failed.
  `CREATE TABLE IF NOT EXISTS upload (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    item TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 1,
    upload_id TEXT,
    part_bytes INTEGER,
    parts INTEGER,
    proof TEXT
  ) WITHOUT ROWID`,
  // A part is claimed before it is sent; only the claim that holds it settles its ETag.
  `CREATE TABLE IF NOT EXISTS part (
    key TEXT NOT NULL,
    number INTEGER NOT NULL,
    claim INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL,
    etag TEXT,
    md5 TEXT,
    PRIMARY KEY (key, number)
  ) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS failure (
    key TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    detail TEXT NOT NULL
  ) WITHOUT ROWID`,
  Outbox.SCHEMA,
];
