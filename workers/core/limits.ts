/** Numbers that the platform or the design fixes. Each has its unit in its name and its source beside it. */

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const TiB = 1024 * GiB;

/** R2: a key is at most 1,024 bytes of UTF-8 (R2 limits). */
export const KEY_MAX_BYTES = 1024;
/** R2: metadata of one object (R2 limits). */
export const METADATA_MAX_BYTES = 8192;
/** R2: an object is at most 4.995 TiB (R2 limits). */
export const OBJECT_MAX_BYTES = Math.floor(4.995 * TiB);
/** R2: a single put, or a part, is at most 4.995 GiB (R2 limits). */
export const PUT_MAX_BYTES = Math.floor(4.995 * GiB);
/** R2 and S3: a part, except the last, is at least 5 MiB. */
export const PART_MIN_BYTES = 5 * MiB;
/** R2 and S3: at most 10,000 parts in an upload. */
export const PARTS_MAX = 10_000;
/** Part size where the source's own is not known. */
export const PART_DEFAULT_BYTES = 64 * MiB;
/** S3 and R2: keys in one page of a listing. */
export const LIST_MAX_KEYS = 1000;

/** Queues bill an operation per 64 KB; a message that stays under costs one each for write, read and delete. */
export const MESSAGE_MAX_BYTES = 60_000;
/** Queues: `sendBatch` takes at most 100 messages or 256 KB. */
export const SEND_BATCH_MAX_MESSAGES = 100;
export const SEND_BATCH_MAX_BYTES = 250_000;
/** Queues: `delaySeconds` is at most 24 hours. */
export const DELAY_MAX_SECONDS = 86_400;

/** Workers: at most six connections may wait for response headers at once. */
export const CONNECTIONS_MAX = 6;
/** Workers: a queue consumer lives at most 15 minutes of wall time. */
export const CONSUMER_MAX_SECONDS = 900;

/** SQLite in Durable Objects: 10 GB; new rows are refused past 80 % of it. */
export const MANIFEST_MAX_BYTES = 8_000_000_000;

/** Queues keep a message 14 days (Queues limits): what was deleted is known for longer, so that no late row brings it back. */
export const TOMBSTONE_MIN_DAYS = 15;
export const TOMBSTONE_DEFAULT_DAYS = 30;
/** Bytes that one message reads for their checksums, and of the largest object that it reads: within a consumer's life. */
export const HASH_MESSAGE_BYTES = 4 * GiB;
export const HASH_OBJECT_MAX_BYTES = 32 * GiB;
/** An index of MosaicML shards: some hundred bytes a shard, which parsed are many times as much of an isolate's 128 MB. */
export const SHARD_INDEX_MAX_BYTES = 2 * MiB;

/** The same of a migration's own records: some fifteen million objects in parts. */
export const MIGRATION_MAX_BYTES = 8_000_000_000;
/** Objects in parts that wait for their turn, beyond which the listing waits. */
export const UPLOADS_WAITING_MAX = 1000;

/** Control API: the largest JSON body; only URL batches may be larger. */
export const BODY_MAX_BYTES = 1 * MiB;
/** 10,000 keys of 1,024 bytes each, and their JSON. */
export const URLS_BODY_MAX_BYTES = 16 * MiB;
/** Nodes of one job, each a row that every status reads. */
export const NODES_MAX = 4096;
/** Names that the series of one job has: step, epoch, loss and metrics; and metrics of one heartbeat. */
export const SERIES_NAMES_MAX = 64;
export const METRICS_MAX = 32;
/** Slots of time in the series of a job, however long it runs. */
export const SERIES_SLOTS_MAX = 512;
/** WebSockets that watch one job: each is sent up to a message a second. */
export const SOCKETS_MAX = 100;
/** Nodes, and stragglers, that a watch of a job names. */
export const WATCH_NODES_MAX = 100;
/** Outputs of one job: `finish` looks at each, within the 10,000 subrequests of an invocation. */
export const OUTPUTS_MAX = 5000;
/** The same with those that were aborted or deleted: each stays a row, so that what is put late is known for what it is. */
export const OUTPUTS_EVER_MAX = 100_000;
/** Requests to R2 that one commit or finish makes for its outputs, within the 10,000 subrequests of an invocation. */
export const LOOKS_MAX = 9000;
/** Outputs that one request may announce, commit or abort. */
export const OUTPUTS_AT_ONCE_MAX = 1000;
/** Parts of a checkpoint: one commit names each, with an ETag of up to 256 characters, within `URLS_BODY_MAX_BYTES`. */
export const CHECKPOINT_PARTS_MAX = 50_000;
/** An output above this goes in parts by itself: of R2's advice, "small to medium files (under ~100 MB)". */
export const OUTPUT_MULTIPART_BYTES = 100 * MiB;
/** Part URLs of one output in one answer, and of all outputs together. */
export const PART_URLS_MAX = 1000;
export const PART_URLS_IN_ALL_MAX = 10_000;
/** Seconds after which a finish that neither finished nor gave up has certainly died. */
export const FINISH_MAX_SECONDS = 900;
/** Prefixes, arrays or record objects that a job's input names, of each. */
export const INPUT_SCOPES_MAX = 64;
/** Keys that a job's input names; more go by prefix or glob. */
export const INPUT_KEYS_MAX = 10_000;
/** Units of one job. Their list is an object; the job's own object holds what is handed out of them. */
export const UNITS_MAX = 1_000_000;
/** Bytes of a unit, asked for at most. */
export const UNIT_MAX_BYTES = 5 * GiB;
/** How often a unit may be handed out before it is given up, at most. */
export const ATTEMPTS_MAX = 100;
/** Objects, chunks or record ranges of one unit. */
export const UNIT_PARTS_MAX = 1000;
/**
 * Row groups of a version's manifest that the making of a job's units may read, 5,000 objects each: with the files' footers
 * some 4,000 requests, within the 10,000 of an invocation beside the look-ups of keys; and some minute of its CPU.
 */
export const UNIT_GROUPS_MAX = 3000;
/** Bytes of the metadata of a Zarr array. */
export const ZARR_DOCUMENT_MAX_BYTES = 1 * MiB;
/** Units that one request may lease, and leases that one may acknowledge. */
export const LEASES_MAX = 1000;
/** Parts of one answer with leases, each with a URL: the surplus units are given back. Near 10 MB at most. */
export const LEASE_PARTS_MAX = 4000;
/** Bytes of the list of units that one answer with leases reads: 128 pages, which parsed are some 40 MB for a moment. */
export const LEASE_LIST_MAX_BYTES = 8 * MiB;
/** Units that one node holds at once: when it falls silent they come back in one transaction, of some 0.3 s. */
export const NODE_UNITS_MAX = 10_000;
/** 1,000 acknowledgements with 500 characters of reason each, and their JSON. */
export const ACKS_BODY_MAX_BYTES = 4 * MiB;
/** Keys in one `urls` request. */
export const URLS_MAX_KEYS = 10_000;

/** Temporary R2 credentials of a job live at most this long: nothing revokes them before they end. */
export const CREDENTIALS_MAX_SECONDS = 3600;
/** Tokens: clocks may differ by this much. */
export const CLOCK_SKEW_SECONDS = 60;
/** A path capability lives at most this long unless asked otherwise. */
export const CAPABILITY_DEFAULT_SECONDS = 86_400;
/** Prefixes and keys that fit one capability. */
export const CAPABILITY_MAX_SCOPES = 64;
/** Revoked capabilities a dataset keeps by id, each until it would have expired: every isolate reads them every 10 s. */
export const REVOCATIONS_MAX = 1000;
/** SigV4: presigned URLs live from 1 second to 7 days. */
export const PRESIGN_MAX_SECONDS = 604_800;

/**
 * Reading: the size of a block of a large object. Chosen by `npm run bench -- read`, see the README's Decisions: at half
 * of it, 64 KiB ranges straddle two blocks twice as often, and cold reads come out alike, for what a cold read costs in the
 * simulator is the put into the cache, at any size from 4 to 256 KiB.
 */
export const BLOCK_BYTES = 256 * KiB;
/** Reading: an object up to this size is one block. */
export const SINGLE_BLOCK_MAX_BYTES = 1 * MiB;
/**
 * Reading: the end of a larger object that is a block of its own. The index of a Zarr shard of 16 x 16 x 16 chunks is
 * 65,540 bytes (16 a chunk, and a CRC32C): just more than 64 KiB.
 */
export const TAIL_BYTES = 128 * KiB;
/** Reading: what is longer is streamed past the cache, without being held. */
export const HELD_MAX_BYTES = 8 * MiB;
/** Reading: blocks up to this size may stay in the isolate's memory. */
export const MEMORY_BLOCK_MAX_BYTES = 256 * KiB;
/**
 * Reading: bytes of blocks that stay in the isolate's memory. An isolate has 128 MB for everything, and V8 may let 64 MB of
 * buffers that nobody holds any more stand before it collects them.
 */
export const MEMORY_DEFAULT_BYTES = 32 * MiB;
/** Reading: what an operator may raise it to, where objects are small and few are read at once. */
export const MEMORY_MAX_BYTES = 64 * MiB;
/** Reading: bytes of pages of versions' indexes that stay in the isolate's memory: of some 140,000 keys. */
export const INDEX_MEMORY_BYTES = 8 * MiB;
/** Reading: pages of one version's index that a look-up of many keys takes through the caches; more are read past them. */
export const INDEX_PAGES_CACHED_MAX = 32;
/** Requests and pages of 64 KiB that looking many keys up may take, within the 10,000 subrequests of an invocation. */
export const LOOK_UP_REQUESTS_MAX = 3000;
export const LOOK_UP_PAGES_MAX = 3000;
/** Pages that a batch of deletes may take in all older versions: 16 GiB, some three minutes of a consumer's fifteen. */
export const DELETES_PAGES_MAX = 262_144;
/** Reading: bytes that an isolate holds at once on their way from a store to the cache and to clients. */
export const IN_FLIGHT_MAX_BYTES = 24 * MiB;
/** Reading: milliseconds after which who waits for another request's read reads for itself. */
export const FOLLOWER_PATIENCE_MS = 2000;

/** Metering: seconds between an isolate's reports, unless METER_FLUSH_SECONDS says otherwise. */
export const METER_FLUSH_DEFAULT_SECONDS = 10;
/** Metering: work goes on for at most 30 seconds after an answer (Workers, `waitUntil`); the report needs some of them. */
export const METER_FLUSH_MAX_SECONDS = 20;
/** Metering: pairs of dataset and job that an isolate counts for, near 1 KB each. */
export const METER_ENTRIES_MAX = 10_000;
/** Metering: seconds without a read after which an isolate forgets what it has reported. */
export const METER_IDLE_SECONDS = 600;
/** Metering: seconds without an acknowledgement after which a reader takes a new name. */
export const READER_SILENCE_MAX_SECONDS = 1800;
/** Metering: seconds of silence after which a job folds a reader's row; far above the one before. */
export const READINGS_FOLD_SECONDS = 3600;
/** Analytics Engine: data points an invocation may write (Analytics Engine limits). */
export const ANALYTICS_MAX_POINTS = 250;

/** Failures that are kept as rows in a migration; beyond these only their number is known. */
export const FAILURE_ROWS_MAX = 10_000;
/** Seconds that a source's Retry-After is followed for: one answer must not stop a run for a year. */
export const RETRY_AFTER_MAX_SECONDS = 300;
/** Messages handed out and not settled beyond which the listing, and the opening of uploads, waits for the copying. */
export const MESSAGES_IN_FLIGHT_MAX = 512;
/** Ranges of one listing that are walked side by side. */
export const LIST_RANGES_MAX = 8;
/** Keys that a migration's request may name; more are named in an object. */
export const INLINE_KEYS_MAX = 10_000;
/** Deletes that one migration may be allowed: each is held as a row until the run deletes. */
export const DELETES_MAX = 20_000;
/** Messages waiting in the migration queue, of all migrations, beyond which no listing adds to them. */
export const QUEUE_BACKLOG_MAX = 5000;

/** Records: a record with more bytes is broken; it is held whole before it is sent. */
export const RECORD_MAX_BYTES = 16 * MiB;
/** Records in one answer. */
export const RECORDS_MAX = 1_000_000;
/** Records: bytes of them after which an answer ends, and says where to go on. */
export const RECORDS_ANSWER_MAX_BYTES = GiB;
/** Records: parts into which an object's may be divided; more would be of less than a record for all but the largest. */
export const SHARDS_MAX = 65_536;
/** Records: an object up to this size is indexed within the request that asks first (some two seconds of CPU). */
export const RECORDS_INLINE_MAX_BYTES = 256 * MiB;
/** Records: of a compressed object, bytes as stored, and as decompressed. */
export const RECORDS_INLINE_GZIP_MAX_BYTES = 64 * MiB;
export const RECORDS_INLINE_INFLATED_MAX_BYTES = GiB;
/** Records: bytes of a larger object that one message indexes, within a consumer's 300 seconds of CPU. */
export const RECORDS_STEP_BYTES = GiB;
/** Records: a compressed object can only be read from its start, so it is indexed by one message, up to this size inflated. */
export const RECORDS_INFLATED_MAX_BYTES = 8 * GiB;
/**
 * Records: gzip members of an object, beside one for each so many bytes inflated. Each costs half a millisecond of CPU, with every
 * reading; bgzip makes them of 64 KiB.
 */
export const RECORDS_MEMBERS_MAX = 2000;
export const RECORDS_MEMBER_BYTES = 32 * KiB;
/** Records: bytes between two places of an index, at least. */
export const RECORDS_STRIDE_BYTES = 64 * KiB;
/** Records: places of an index, 32 bytes each, near enough: of a larger object they are further apart. */
export const RECORDS_PLACES_MAX = 32_768;
/** Records: broken ones that an index, or the end of an answer, names; beyond these only their number is known. */
export const BROKEN_NAMED_MAX = 1000;
