import * as z from "zod";
import type { MigrationSpec } from "./status.ts";

/** A price in dollars. */
const dollars = (price: number) => z.number().nonnegative().default(price);

/** `[vars.PRICES]` of wrangler.toml. The defaults are list prices of AWS S3 (us-east-1, first tier) and of Cloudflare. */
export const pricesSchema = z.strictObject({
  egressPerGB: dollars(0.09),
  sourceGetPerThousand: dollars(0.0004),
  sourceListPerThousand: dollars(0.005),
  sourcePutPerThousand: dollars(0.005),
  classAPerMillion: dollars(4.5),
  classBPerMillion: dollars(0.36),
  queuePerMillion: dollars(0.4),
  storagePerGBMonth: dollars(0.015),
});
export type Prices = z.infer<typeof pricesSchema>;
export const DEFAULT_PRICES: Prices = pricesSchema.parse({});

interface Count {
  objects: number;
  bytes: number;
}

/** What a run was asked to do, as far as its costs go by that. */
export interface Asked extends Pick<MigrationSpec, "direction" | "task"> {
  /** Whether it looks its keys up one by one, in a list. */
  isByKey: boolean;
}

/** What a listing found. Sums, so that those of two ranges may be added. */
export interface EstimateTotals {
  /** Pages of the listing, at up to 1,000 keys, or of a list of keys. */
  pages: number;
  listed: Count;
  /** Would be copied, or read back, with one request. */
  small: Count;
  /** Would be copied, or read back, in parts; how many, as far as a listing can tell. */
  large: Count & { parts: number };
}

/** What a run would copy (of a verification: read back), and what that costs in dollars. */
export interface Estimate extends Count {
  requests: Requests;
  dollars: {
    sourceEgress: number;
    sourceRequests: number;
    r2ClassA: number;
    r2ClassB: number;
    queue: number;
    /** In R2, for each month that the copies stay. */
    storageMonth: number;
    /** With the first month's storage. */
    total: number;
  };
  /** How the sums were rounded, and what is not in them. */
  rounding: string;
}

/** Objects in one message of copies or rows, and of one object of the report. */
const OBJECTS_A_MESSAGE = 500;
/** Bytes in one message of parts. */
const PART_MESSAGE_BYTES = 512 * 1024 * 1024;
/** Queues: a message is written, read and deleted. */
const OPERATIONS_A_MESSAGE = 3;
/** As bills say it: GB are decimal. */
const GB = 1_000_000_000;
const MILLION = 1_000_000;

const ROUNDING =
  "R2 bills operations by whole millions and storage by whole GB-months, so these are rounded up; what else the account " +
  "uses in the month shares that rounding. Not counted: free tiers, the source's volume discounts, what is tried again, ";
/** What else is not counted. */
const OF_COPIES = "and one class B operation for each object that is overwritten.";
const OF_THE_WAY_BACK = "and what the source charges for storage.";
const OF_READING = "and up to two requests to the source for each object whose two ETags differ.";
const OF_KEYS =
  " Of each 200 keys of a list the destination is listed up to ten times, of which one is counted, and then asked for " +
  "each.";

interface Requests {
  sourceList: number;
  sourceGet: number;
  sourcePut: number;
  classA: number;
  classB: number;
  queue: number;
}

/** What a run costs, by how the engine goes about it; up to the whole listing, or list of keys. */
export function estimate(totals: EstimateTotals, prices: Prices, asked: Asked): Estimate {
  const { small, large } = totals;
  const objects = small.objects + large.objects;
  const bytes = small.bytes + large.bytes;
  const isReading = asked.task === "verify" || asked.task === "verify-deep";
  const isBack = asked.direction === "back";
  const requests = sum(
    walking(totals, asked),
    isReading ? reading(totals) : isBack ? copyingBack(totals) : copyingIn(totals),
  );
  // R2 charges nothing for what leaves it.
  const isFromSource = !isBack && !isReading;
  const parts = {
    sourceEgress: isFromSource ? (bytes / GB) * prices.egressPerGB : 0,
    sourceRequests:
      (requests.sourceGet / 1000) * prices.sourceGetPerThousand +
      (requests.sourceList / 1000) * prices.sourceListPerThousand +
      (requests.sourcePut / 1000) * prices.sourcePutPerThousand,
    r2ClassA: Math.ceil(requests.classA / MILLION) * prices.classAPerMillion,
    r2ClassB: Math.ceil(requests.classB / MILLION) * prices.classBPerMillion,
    queue: (requests.queue / MILLION) * prices.queuePerMillion,
    storageMonth: isFromSource ? Math.ceil(bytes / GB) * prices.storagePerGBMonth : 0,
  };
  const total = Object.values(parts).reduce((all, cost) => all + cost, 0);
  const rounding = ROUNDING + (isReading ? OF_READING : isBack ? OF_THE_WAY_BACK : OF_COPIES);
  return {
    objects,
    bytes,
    requests,
    dollars: { ...parts, total },
    rounding: asked.isByKey ? rounding + OF_KEYS : rounding,
  };
}

/**
 * A page is one list request on each side; of a list of keys the part is looked at and read, and each key listed where the
 * objects come from. What is done with them travels in messages, and the report has an object a page and one a batch.
 */
function walking({ pages, listed, small, large }: EstimateTotals, { direction, isByKey }: Asked): Requests {
  const lists = isByKey ? listed.objects : pages;
  const [ofSource, ofR2] = direction === "in" ? [lists, pages] : [pages, lists];
  const batches = Math.ceil(small.objects / OBJECTS_A_MESSAGE);
  // The last message of an object may be a small one: at most one more than its bytes alone would need.
  const partMessages = large.objects + Math.floor(large.bytes / PART_MESSAGE_BYTES);
  const reports = pages + Math.ceil((small.objects + large.objects) / OBJECTS_A_MESSAGE);
  return {
    ...NONE,
    sourceList: ofSource,
    classA: ofR2 + reports,
    classB: isByKey ? 2 * pages : 0,
    queue: OPERATIONS_A_MESSAGE * (pages + batches + partMessages + 2 * large.objects),
  };
}

/**
 * A small object is a GET and a put; one in parts is two HEADs and a GET a part, and create, parts, complete and a look
 * before that in R2. The manifest gets the rows.
 */
const copyingIn = ({ small, large }: EstimateTotals): Requests => ({
  ...NONE,
  sourceGet: small.objects + 2 * large.objects + large.parts,
  classA: small.objects + 2 * large.objects + large.parts,
  classB: large.objects,
  queue: OPERATIONS_A_MESSAGE * Math.ceil((small.objects + large.objects) / OBJECTS_A_MESSAGE),
});

/**
 * A small object is a get from R2, and a put with a look before and after it; one in parts is a look and a get a part, and
 * create, parts, complete with a look before and after it.
 */
const copyingBack = ({ small, large }: EstimateTotals): Requests => ({
  ...NONE,
  sourceGet: 2 * small.objects + 2 * large.objects,
  sourcePut: small.objects + 2 * large.objects + large.parts,
  classB: small.objects + large.objects + large.parts,
});

/** What is read back is a get, or one a part, and a question to the source how it cut it. */
const reading = ({ small, large }: EstimateTotals): Requests => ({
  ...NONE,
  sourceGet: large.objects,
  classB: small.objects + large.parts,
});

const NONE: Requests = { sourceList: 0, sourceGet: 0, sourcePut: 0, classA: 0, classB: 0, queue: 0 };

const sum = (a: Requests, b: Requests): Requests => ({
  sourceList: a.sourceList + b.sourceList,
  sourceGet: a.sourceGet + b.sourceGet,
  sourcePut: a.sourcePut + b.sourcePut,
  classA: a.classA + b.classA,
  classB: a.classB + b.classB,
  queue: a.queue + b.queue,
});
