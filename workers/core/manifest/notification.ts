import * as z from "zod";
import { storeKey } from "../migration/join.ts";

/**
 * What R2 tells a queue of an object that changed (developers.cloudflare.com/r2/buckets/event-notifications, message
 * format). The format is Cloudflare's, and may get fields and actions: what is not known here is let through. Deletions
 * have neither size nor ETag.
 */
const notificationSchema = z.looseObject({
  account: z.string(),
  /** PutObject, CopyObject, CompleteMultipartUpload, DeleteObject, LifecycleDeletion. */
  action: z.string(),
  /** The bucket's S3 name. */
  bucket: z.string(),
  object: z.looseObject({ key: z.string().min(1), size: z.number().optional(), eTag: z.string().optional() }),
  eventTime: z.string(),
});

const DELETIONS: ReadonlySet<string> = new Set(["DeleteObject", "LifecycleDeletion"]);

/** What a notification says: that something happened at a key, and what R2 had there after it (null: nothing, or unsaid). */
export interface Notified {
  bucket: string;
  /** In the bucket, and in NFC. */
  key: string;
  etag: string | null;
}

/** Whose an object in a bucket is: the dataset, and its place. */
export interface Owner {
  name: string;
  id: string;
  bucket: string;
  prefix: string;
}

/** Null where this is no notification. */
export function parseNotification(body: unknown): Notified | null {
  const parsed = notificationSchema.safeParse(body);
  if (!parsed.success) return null;
  const { action, bucket, object } = parsed.data;
  const etag = DELETIONS.has(action) ? undefined : object.eTag?.replace(/^"(.*)"$/, "$1");
  return { bucket, key: storeKey(object.key), etag: etag === undefined || etag === "" ? null : etag };
}
