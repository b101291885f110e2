import * as z from "zod";

/** A price in dollars. */
const dollars = (price: number) => z.number().nonnegative().default(price);

/** `[vars.PRICES]` of wrangler.toml. The defaults are list prices of AWS S3 (us-east-1, first tier) and of Cloudflare. */
export const pricesSchema = z.strictObject({
  egressPerGB: dollars(0.09),
  sourceGetPerThousand: dollars(0.0004),
  sourceListPerThousand: dollars(0.005),
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

/** What a listing found. Sums, so that those of two ranges may be added. */
export interface EstimateTotals {
  /** Pages of the source's listing, at up to 1,000 keys. */
  pages: number;
  listed: Count;
  /** Would be copied with one request. */
  small: Count;
  /** Would be copied in parts; how many, as far as a listing can tell. */
  large: Count & { parts: number };
}

/** What a run would do, and what that costs in dollars. */
export interface Estimate extends Count {
  requests: { sourceList: number; sourceGet: number; classA: number; classB: number; queue: number };
  dollars: {
    sourceEgress: number;
    sourceRequests: number;
    r2ClassA: number;
    r2ClassB: number;
    queue: number;
    /** For each month that the copies stay. */
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
  "uses in the month shares that rounding. Not counted: free tiers, the source's volume discounts, what is tried again, " +
  "and one class B operation for each object that is overwritten.";

/**
 * What copying costs, by how the engine goes about it: a page is one list request on each side; a small object is a GET
 * and a put; one in parts is two HEADs and a GET a part, and create, parts, complete and a look before that in R2.
 */
export function estimate({ pages, small, large }: EstimateTotals, prices: Prices): Estimate {
  const objects = small.objects + large.objects;
  const bytes = small.bytes + large.bytes;
  const batches = Math.ceil(small.objects / OBJECTS_A_MESSAGE);
  const rows = Math.ceil(objects / OBJECTS_A_MESSAGE);
  // The last message of an object may be a small one: at most one more than its bytes alone would need.
  const partMessages = large.objects + Math.floor(large.bytes / PART_MESSAGE_BYTES);
  const requests = {
    sourceList: pages,
    sourceGet: small.objects + 2 * large.objects + large.parts,
    // The report has an object a page, and one for each batch of copies.
    classA: pages + small.objects + 2 * large.objects + large.parts + pages + rows,
    classB: large.objects,
    queue: OPERATIONS_A_MESSAGE * (pages + batches + rows + partMessages + 2 * large.objects),
  };
  const parts = {
    sourceEgress: (bytes / GB) * prices.egressPerGB,
    sourceRequests:
      (requests.sourceGet / 1000) * prices.sourceGetPerThousand +
      (requests.sourceList / 1000) * prices.sourceListPerThousand,
    r2ClassA: Math.ceil(requests.classA / MILLION) * prices.classAPerMillion,
    r2ClassB: Math.ceil(requests.classB / MILLION) * prices.classBPerMillion,
    queue: (requests.queue / MILLION) * prices.queuePerMillion,
    storageMonth: Math.ceil(bytes / GB) * prices.storagePerGBMonth,
  };
  const total = Object.values(parts).reduce((sum, cost) => sum + cost, 0);
  return { objects, bytes, requests, dollars: { ...parts, total }, rounding: ROUNDING };
}
