import { Access } from "./access.ts";
import { Feeds } from "./feeds.ts";
import { Walk } from "./walk.ts";

/** The columns of a row, in the order in which rows are written: SQL's name, and the field of `StoredRow`. */
export const COLUMNS = [
  ["key", "key"],
  ["size", "size"],
  ["etag", "etag"],
  ["uploaded_at", "uploadedAt"],
  ["content_type", "contentType"],
  ["content_encoding", "contentEncoding"],
  ["md5", "md5"],
  ["sha256", "sha256"],
  ["crc64nvme", "crc64nvme"],
  ["proof", "proof"],
  ["origin", "origin"],
  ["source_key", "sourceKey"],
  ["source_etag", "sourceEtag"],
  ["source_modified_at", "sourceModifiedAt"],
  ["storage_class", "storageClass"],
  ["tags", "tags"],
  ["writer", "writer"],
  ["stage", "stage"],
  ["category", "category"],
  ["placed", "isPlaced"],
  ["said", "isSaid"],
  ["updated_at", "updatedAt"],
  ["seq", "seq"],
] as const;

/** A key's last segment: what comes after its last slash. What SQLite is asked must be spelt as the index is. */
export const LAST_SEGMENT = `substr(key, length(rtrim(key, replace(key, '/', ''))) + 1)`;

/** What is counted beside the rows: the table, what it counts by ('' for none), and the row's columns of that. */
export const TOTALS = [
  ["total", "proof, stage", "coalesce(object.proof, ''), coalesce(object.stage, '')"],
  ["category_total", "stage, category", "coalesce(object.stage, ''), coalesce(object.category, '')"],
] as const;

/** Of an object's row. Origins, which millions share, are in a table of their own. */
const ROW = `
  size INTEGER NOT NULL,
  etag TEXT NOT NULL,
  uploaded_at INTEGER NOT NULL,
  content_type TEXT,
  content_encoding TEXT,
  md5 TEXT,                  -- where it is not the ETag
  sha256 TEXT,
  crc64nvme TEXT,
  proof TEXT,
  origin INTEGER,            -- word.id
  source_key TEXT,
  source_etag TEXT,
  source_modified_at INTEGER,
  storage_class TEXT,
  tags TEXT,                 -- JSON
  writer TEXT NOT NULL,
  stage TEXT,
  category TEXT,
  placed INTEGER NOT NULL,   -- 1: the owner said stage and category, and no rule changes them
  said INTEGER NOT NULL DEFAULT 0, -- 1: a list of objects says one of the checksums, and nobody has computed it
  updated_at INTEGER NOT NULL,
  seq INTEGER NOT NULL`;

export const SCHEMA = [
  `CREATE TABLE IF NOT EXISTS config (id INTEGER PRIMARY KEY CHECK (id = 1), config TEXT NOT NULL)`,
  // seq counts the changes of this dataset; generation, the questions about its keys; migration is the running one, and
  // since when; forgotten is the last seq of which a tombstone has expired.
  `CREATE TABLE IF NOT EXISTS head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    forgotten INTEGER NOT NULL DEFAULT 0,
    migration TEXT,
    migration_since INTEGER
  )`,
  `INSERT OR IGNORE INTO head (id, seq) VALUES (1, 0)`,
  // Keys that cut the last whole listing into ranges, as JSON.
  `CREATE TABLE IF NOT EXISTS listing (id INTEGER PRIMARY KEY CHECK (id = 1), cuts TEXT NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)`,
  `CREATE TABLE IF NOT EXISTS object (key TEXT PRIMARY KEY, ${ROW}) WITHOUT ROWID`,
  `CREATE INDEX IF NOT EXISTS object_seq ON object (seq)`,
  `CREATE INDEX IF NOT EXISTS object_place ON object (stage, category) WHERE stage IS NOT NULL`,
  // By which a name is resolved. Rows without a stage, such as the chunks of an array, have none and cost nothing here.
  `CREATE INDEX IF NOT EXISTS object_name ON object (${LAST_SEGMENT}, stage, category) WHERE stage IS NOT NULL`,
  // The keys about which R2 is being asked, and the generation of the last question: an answer to an older one is stale.
  `CREATE TABLE IF NOT EXISTS asked (key TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID`,
  // Rows as they were when \`version\` was sealed, of keys that changed since.
  `CREATE TABLE IF NOT EXISTS shadow (version INTEGER NOT NULL, key TEXT NOT NULL, ${ROW}, PRIMARY KEY (version, key)) WITHOUT ROWID`,
  // Objects and bytes, kept beside the rows: counting millions is no read. By category apart, for there may be very many.
  `CREATE TABLE IF NOT EXISTS total (
    proof TEXT NOT NULL,
    stage TEXT NOT NULL,
    objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (proof, stage)
  ) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS category_total (
    stage TEXT NOT NULL,
    category TEXT NOT NULL,
    objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (stage, category)
  ) WITHOUT ROWID`,
  ...Access.SCHEMA,
  ...Feeds.SCHEMA,
  ...Walk.SCHEMA,
  // How far the rows were held against rules of places that have changed; absent: all of them.
  `CREATE TABLE IF NOT EXISTS placing (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    after TEXT NOT NULL,
    due_at INTEGER NOT NULL
  )`,
  // Names that the owner gave. The category '' is the top level; key is NULL where the path led to no object; more is JSON.
  `CREATE TABLE IF NOT EXISTS registry (
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    path TEXT NOT NULL,
    key TEXT,
    more TEXT,
    PRIMARY KEY (name, category)
  ) WITHOUT ROWID`,
];
