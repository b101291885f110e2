import * as z from "zod";
import { asked } from "../../adapters/ask.ts";
import { forEachLimited } from "../../adapters/for-each-limited.ts";
import { directoryOf } from "../../adapters/objects.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { CAPABILITY_DEFAULT_SECONDS, KEY_MAX_BYTES, PRESIGN_MAX_SECONDS } from "../../core/limits.ts";
import { DEFAULT_RESOLVE_ORDER, nameSchema, resolveOrderSchema } from "../../core/manifest/dataset.ts";
import { categorySchema } from "../../core/manifest/place.ts";
import { lastSegment } from "../../core/manifest/registry.ts";
import { NAMED_MAX } from "../../core/manifest/resolve.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { datasetAllowed, tokenOf } from "../auth.ts";
import { readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { entryOf } from "../manifest/entry.ts";
import { signerOf } from "../manifest/sign.ts";
import { wholeNumber } from "../paging.ts";
import { type Answer, askLive, askSealed } from "../resolve/answers.ts";
import { type Candidate, choose, type Passed } from "../resolve/choose.ts";

/** Datasets that are asked where none is named. */
const DATASETS_MAX = 100;
const ASKED_AT_ONCE = 32;

const resolveQuery = z.strictObject({
  name: z.string().min(1).max(KEY_MAX_BYTES).transform(storeKey),
  category: categorySchema(KEY_MAX_BYTES).optional(),
  dataset: nameSchema.optional(),
  version: z.string().min(1).max(64).default("live"),
  order: z
    .string()
    .transform((text) => text.split(","))
    .pipe(resolveOrderSchema)
    .optional(),
  expiresSeconds: wholeNumber(1, PRESIGN_MAX_SECONDS).default(CAPABILITY_DEFAULT_SECONDS),
});
type Wanted = z.output<typeof resolveQuery>;

/**
 * `GET /v1/resolve`: the object that goes by a name. A registry's word comes first; else it is the object whose key ends in the
 * name, of the first stage of the order that has one. Where that is said of several, none is chosen: they are named.
 */
export async function resolve(c: Ctx): Promise<Response> {
  const query = readQuery(c, resolveQuery);
  if (!query.ok) return refuse(c, query.failure);
  const { value: wanted } = query;
  const answers = await askAll(c, wanted);
  if (!answers.ok) return refuse(c, answers.failure);
  const { chosen, via, passed } = choose(answers.value);
  const [one, ...others] = chosen;
  if (one === undefined) return refuse(c, nothing(wanted, answers.value, passed));
  if (others.length > 0) return refuse(c, ambiguous(wanted, chosen));
  const row = await one.whole(one.row);
  if (!row.ok) return refuse(c, row.failure);
  const signer = await signerOf(c, one.dataset, "edge", one.number, wanted.expiresSeconds);
  if (!signer.ok) return refuse(c, signer.failure);
  const made = await signer.value.sign(row.value);
  if (!made.ok) return refuse(c, made.failure);
  const { expiresAt, serverTime } = signer.value;
  const { dataset, version } = one;
  return answer(c, {
    dataset,
    version,
    ...entryOf(row.value),
    via,
    url: made.value.url,
    expiresAt,
    serverTime,
    passedOver: passed,
  });
}

async function askAll(c: Ctx, wanted: Wanted): Promise<Result<Answer[]>> {
  const { dataset, version } = wanted;
  if (dataset !== undefined) {
    const refused = datasetAllowed(tokenOf(c), dataset);
    if (refused !== null) return fail(refused);
    if (version !== "live" && wanted.name.includes("/")) return fail(noPath(wanted));
    const one = await (version === "live"
      ? askLive(c.env, wanted, dataset)
      : askSealed(c.env, wanted, dataset, version));
    return one.ok ? ok([one.value]) : one;
  }
  if (version !== "live") {
    const detail = "dataset: must be named where a version is: versions are each dataset's own.";
    return fail(failure("invalid-query", detail, { field: "dataset" }));
  }
  const { datasets = null } = tokenOf(c);
  const listed = await asked("The directory", async () =>
    ok(await directoryOf(c.env).list("dataset", null, DATASETS_MAX, datasets)),
  );
  if (!listed.ok) return listed;
  const { entries, next } = listed.value;
  if (next !== null) {
    const detail = `dataset: must be named where the token may read more than ${DATASETS_MAX} of them.`;
    return fail(failure("invalid-query", detail, { field: "dataset" }));
  }
  const answers: Answer[] = [];
  let refused: Failure | null = null;
  await forEachLimited(entries, ASKED_AT_ONCE, async ({ name }) => {
    const one = await askLive(c.env, wanted, name);
    if (one.ok) answers.push(one.value);
    // One that is being made has nothing as yet.
    else if (one.failure.code !== "unknown-dataset") refused = one.failure;
  });
  return refused === null ? ok(answers.toSorted((a, b) => (a.dataset < b.dataset ? -1 : 1))) : fail(refused);
}

const quoted = (text: string): string => JSON.stringify(text.slice(0, 200));

function nothing(wanted: Wanted, answers: readonly Answer[], passed: readonly Passed[]): Failure {
  const { name, category, dataset } = wanted;
  // Only a registry's name may have one in it.
  if (name.includes("/")) return noPath(wanted);
  const where = dataset === undefined ? "any dataset that the token may read" : `dataset "${dataset}"`;
  const what = `No object of ${where} has a key that ends in ${quoted(name)}`;
  const within = category === undefined ? "" : ` and the category ${quoted(category)}`;
  const orders = [...new Set(answers.map(({ order }) => order.join(", ")))];
  const order = orders.length > 1 ? "that each dataset orders" : (orders[0] ?? DEFAULT_RESOLVE_ORDER.join(", "));
  const stages = `in the stages ${order}; objects without a stage are not looked at`;
  const near = passed.slice(0, NAMED_MAX).map((each) => `${each.dataset}: ${quoted(each.key)} (${each.why})`);
  const detail = `${what}${within}, ${stages}.${near.length === 0 ? "" : ` Passed over: ${near.join("; ")}.`}`;
  return failure("nothing-resolved", detail, { field: "name" });
}

function noPath({ name }: Wanted): Failure {
  const last = quoted(lastSegment(name));
  const detail =
    `name: ${quoted(name)} has a "/" and is no name of a registry. A name is the last part of a key: ask for ${last} with a ` +
    "category or a dataset; or list the object by manifest?prefix=<key>.";
  return failure("invalid-query", detail, { field: "name" });
}

function ambiguous({ name }: Wanted, candidates: readonly Candidate[]): Failure {
  const shown = candidates.slice(0, NAMED_MAX).map(({ dataset, row }) => {
    return `${dataset}: ${quoted(row.key)} (stage ${row.stage ?? "none"}, category ${row.category ?? "none"})`;
  });
  const more = candidates.length > NAMED_MAX ? "; and more" : "";
  const wayOut = "say a category, a dataset or an order, or name one in the dataset's registry";
  return failure("ambiguous-name", `${quoted(name)} is ${shown.join("; ")}${more}: ${wayOut}.`, { field: "name" });
}
