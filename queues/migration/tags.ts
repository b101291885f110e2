import { failure } from "../../workers/core/failure.ts";
import type { CopyItem } from "../../workers/core/migration/message.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectBody, ObjectInfo } from "../../workers/ports/object-store.ts";
import { HELD_MAX_BYTES, readAll } from "./held-body.ts";
import { type Copying, sourceFailure, sourceKeyOf } from "./run.ts";

/** Whether the object has tags that nobody has asked for yet. */
export const hasUnreadTags = ({ tagCount, tags }: ObjectInfo): boolean => tagCount !== undefined && tags === undefined;

/** What the source told of an object, with its tags: one request, where there are any. Where it does not tell them, without. */
export async function withTags<T extends ObjectInfo>(from: T, item: CopyItem, run: Copying): Promise<Result<T>> {
  if (!hasUnreadTags(from) || run.source.tags === undefined) return ok(from);
  const tags = await run.source.tags(sourceKeyOf(run, item.key));
  if (!tags.ok) return fail(sourceFailure(tags.failure));
  return ok(tags.value === null ? from : { ...from, tags: tags.value });
}

/**
 * The same of a body. A source may allow a few connections only, and whoever holds one and waits for another may wait for ever:
 * a small body is read before the tags are asked for, and a larger one is let go, and asked for again after them.
 */
export async function bodyWithTags(from: ObjectBody, item: CopyItem, run: Copying): Promise<Result<ObjectBody>> {
  if (from.length > HELD_MAX_BYTES) {
    await from.body.cancel();
    const told = await withTags<ObjectInfo>(from, item, run);
    return told.ok ? getAgain(item, told.value.tags, run) : told;
  }
  const bytes = await readAll(from);
  if (!bytes.ok) return bytes;
  // The runtime knows how long such a body is, as R2 wants it to.
  return withTags({ ...from, body: new Response(bytes.value).body ?? new Blob([]).stream() }, item, run);
}

async function getAgain(item: CopyItem, tags: ObjectInfo["tags"], run: Copying): Promise<Result<ObjectBody>> {
  const options = { ifMatch: item.etag, checksums: run.spec.checksums };
  const again = await run.source.get(sourceKeyOf(run, item.key), options);
  if (!again.ok) return fail(sourceFailure(again.failure));
  const { etag, length, body } = again.value;
  // A server that ignores If-Match is seen here.
  if (etag === item.etag && length === item.size)
    return ok({ ...again.value, ...(tags === undefined ? {} : { tags }) });
  await body.cancel();
  return fail(failure("source-changed"));
}
