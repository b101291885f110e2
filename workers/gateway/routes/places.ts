import * as z from "zod";
import { asked, datasetNamed } from "../../adapters/ask.ts";
import { datasetOf } from "../../adapters/objects.ts";
import { failure } from "../../core/failure.ts";
import { BODY_MAX_BYTES } from "../../core/limits.ts";
import { keySchema } from "../../core/manifest/dataset.ts";
import { categorySchema } from "../../core/manifest/place.ts";
import { type Place, stageSchema } from "../../core/manifest/row.ts";
import { storeKey } from "../../core/migration/join.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { cursorSchema, formatCursor } from "../paging.ts";

/** Keys that one request may name. */
const KEYS_MAX = 10_000;
/** Keys of one question to the Dataset: each is one statement's work. */
const KEYS_AT_ONCE = 1000;
/** Questions of one answer: a million rows below a prefix, at a thousand each. */
const STEPS_MAX = 1000;

const placesBody = z
  .strictObject({
    keys: z.array(keySchema).min(1).max(KEYS_MAX).optional(),
    prefix: z.string().max(1024).optional(),
    /** Both, for both are set; null is none. */
    stage: stageSchema.nullable().optional(),
    category: categorySchema(256).nullable().optional(),
    /** Back to what the rules say. */
    reset: z.literal(true).optional(),
    cursor: cursorSchema.optional(),
  })
  .refine(({ keys, prefix }) => (keys === undefined) !== (prefix === undefined), {
    error: 'name either keys or a prefix ("" is all)',
    path: ["keys"],
  })
  .refine(({ cursor, prefix }) => cursor === undefined || prefix !== undefined, {
    error: "goes with a prefix only",
    path: ["cursor"],
  })
  .refine(({ reset, stage, category }) => (reset === true) === (stage === undefined && category === undefined), {
    error: "say stage and category, or reset: true without them",
    path: ["reset"],
  })
  .refine(({ reset, stage, category }) => reset === true || (stage !== undefined && category !== undefined), {
    error: "say both stage and category; null is none",
    path: ["stage"],
  });

const OTHER_CURSOR = failure(
  "invalid-cursor",
  "cursor: is of another prefix or list; send the same again as it came with, or begin anew without it.",
  { field: "cursor" },
);

/**
 * `POST /v1/datasets/:dataset/places`: sets stage and category of objects by the owner's word, which no rule changes, or has
 * the rules say them again. Answers how many there are and how many changed. A prefix of more than a million objects comes
 * back with a cursor: send the same again with it.
 */
export async function place(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  // A thousand keys are a megabyte at most.
  const body = await readBody(c, placesBody, (KEYS_MAX / KEYS_AT_ONCE) * BODY_MAX_BYTES, {
    wayOut: "name a prefix, or fewer keys at once",
  });
  if (!body.ok) return refuse(c, body.failure);
  const { keys, prefix = "", stage = null, category = null, reset, cursor } = body.value;
  const said: Place | null = reset === true ? null : { stage, category };
  let [known, changed] = [0, 0];
  if (keys !== undefined) {
    const wanted = [...new Set(keys.map(storeKey))];
    for (let at = 0; at < wanted.length; at += KEYS_AT_ONCE) {
      const some = wanted.slice(at, at + KEYS_AT_ONCE);
      const placed = await asked(datasetNamed(name), async () => datasetOf(c.env, name).place(some, said));
      if (!placed.ok) return refuse(c, placed.failure);
      known += placed.value.known;
      changed += placed.value.changed;
    }
    return answer(c, { dataset: name, objects: known, changed });
  }
  if (!prefix.isWellFormed()) return refuse(c, failure("invalid-body", "prefix: is not Unicode.", { field: "prefix" }));
  const below = storeKey(prefix);
  // Its length says where it ends: what follows is a key.
  const ours = `places ${below.length} ${below} `;
  if (cursor?.startsWith(ours) === false) return refuse(c, OTHER_CURSOR);
  let after = cursor?.slice(ours.length) ?? null;
  for (let step = 0; step < STEPS_MAX; step++) {
    const from = after;
    const placed = await asked(datasetNamed(name), async () => datasetOf(c.env, name).placeBelow(below, from, said));
    if (!placed.ok) return refuse(c, placed.failure);
    known += placed.value.known;
    changed += placed.value.changed;
    after = placed.value.next;
    if (after === null) break;
  }
  return answer(c, {
    dataset: name,
    objects: known,
    changed,
    ...(after === null ? {} : { cursor: formatCursor(ours + after) }),
  });
}
