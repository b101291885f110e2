import * as z from "zod";
import type { SealedVersion } from "../../../durable-objects/dataset/dataset.ts";
import { markBusy } from "../../adapters/mark-busy.ts";
import { datasetOf } from "../../adapters/objects.ts";
import { noChain, pageOfChanges, reversed } from "../../adapters/version-changes.ts";
import { failure } from "../../core/failure.ts";
import { PRESIGN_MAX_SECONDS } from "../../core/limits.ts";
import { aliasSchema, type Change, filesOf, parseVersionName, sealBodySchema } from "../../core/manifest/version.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { readBody, readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { formatCursor, pageQuery, wholeNumber } from "../paging.ts";
import { versionOf } from "../version-of.ts";
import { signedUrls } from "../exports/version.ts";

/** Versions between the two of a diff: each is a walk of its own. */
const CHAIN_MAX = 50;

/** `POST /v1/datasets/:dataset/versions`: seals what is there. 202 while it is being sealed; 200 where nothing has changed. */
export async function seal(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const body = await readBody(c, sealBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const dataset = datasetOf(c.env, name);
  const config = await dataset.config();
  if (!config.ok) return refuse(c, config.failure);
  const sealed = await dataset.seal(config.value.id, body.value);
  if (!sealed.ok) return refuse(c, sealed.failure);
  const { version } = sealed.value;
  if (version.state !== "sealed") await markBusy(c.env, name);
  return answer(c, { dataset: name, ...version }, version.state === "sealed" ? 200 : 202);
}

/** `GET /v1/datasets/:dataset/versions`: the newest first. */
export async function list(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const query = readQuery(c, z.strictObject(pageQuery));
  if (!query.ok) return refuse(c, query.failure);
  const before = numberIn(query.value.cursor);
  if (before === undefined) return refuse(c, OTHER_CURSOR);
  const page = await datasetOf(c.env, name).versions(before, query.value.limit);
  if (!page.ok) return refuse(c, page.failure);
  const { versions, next } = page.value;
  return answer(c, { dataset: name, versions, ...(next === null ? {} : { cursor: formatCursor(`versions ${next}`) }) });
}

const describeQuery = z.strictObject({
  ...pageQuery,
  /** Seconds for which the URLs of the files are good. */
  expiresSeconds: wholeNumber(1, PRESIGN_MAX_SECONDS).default(3600),
});

/** `GET /v1/datasets/:dataset/versions/:version`: one version with its files; for `A..B`, what changed from A to B. */
export async function describe(c: Ctx): Promise<Response> {
  const text = c.req.param("version") ?? "";
  const query = readQuery(c, describeQuery);
  if (!query.ok) return refuse(c, query.failure);
  const [from = "", to, more] = text.split("..");
  if (to !== undefined && more === undefined) return diff(c, from, to, query.value);
  const name = c.req.param("dataset") ?? "";
  const versionName = parseVersionName(text);
  if (versionName === null || versionName.kind === "live") {
    const detail = 'Name a version by its number or an alias, or two with ".." between; GET .../manifest is "live".';
    return refuse(c, failure("unknown-version", detail, { field: "version" }));
  }
  const found = await datasetOf(c.env, name).version(versionName);
  if (!found.ok) return refuse(c, found.failure);
  const { info, datasetId } = found.value;
  if (info.state !== "sealed") return answer(c, { dataset: name, ...info });
  // The files are read like objects, by a capability of their own.
  const urls = await signedUrls(c, { name, sealed: found.value }, "files", query.value.expiresSeconds);
  if (!urls.ok) return refuse(c, urls.failure);
  const files = [...filesOf(datasetId, found.value)].map(([file, { size, sha256, etag }]) => ({
    name: file,
    bytes: size,
    sha256,
    etag,
    url: urls.value.of(file),
  }));
  const { expiresAt, serverTime } = urls.value;
  return answer(c, { dataset: name, ...info, files, expiresAt, serverTime });
}

async function diff(c: Ctx, fromText: string, toText: string, query: z.infer<typeof describeQuery>): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const [from, to] = [await sealedOf(c, name, fromText), await sealedOf(c, name, toText)];
  if (!from.ok) return refuse(c, from.failure);
  if (!to.ok) return refuse(c, to.failure);
  const isForward = from.value.info.number <= to.value.info.number;
  const [older, newer] = isForward ? [from.value, to.value] : [to.value, from.value];
  const chain = await chainOf(c, name, older, newer);
  if (!chain.ok) return refuse(c, chain.failure);
  const { cursor, limit } = query;
  // With the numbers: an alias may have moved since the last page.
  const ours = `diff ${from.value.info.number} ${to.value.info.number} `;
  if (cursor?.startsWith(ours) === false) return refuse(c, OTHER_CURSOR);
  const page = await pageOfChanges(c.env, chain.value, cursor?.slice(ours.length) ?? null, limit);
  if (!page.ok) return refuse(c, page.failure);
  const changes = isForward ? page.value.changes : page.value.changes.map(reversed);
  const { next } = page.value;
  return answer(c, {
    dataset: name,
    from: from.value.info.number,
    to: to.value.info.number,
    changes: changes.map((change) => ({ change: kindOf(change), ...change })),
    ...(next === null ? {} : { cursor: formatCursor(ours + next) }),
  });
}

const OTHER_CURSOR = failure(
  "invalid-cursor",
  "The cursor is of another list, or of other versions (an alias may have moved): begin again without it.",
  { field: "cursor" },
);

/** The number in a cursor of versions; null without one, undefined where it is another list's. */
function numberIn(cursor: string | undefined): number | null | undefined {
  if (cursor === undefined) return null;
  const [, digits] = /^versions (\d{1,9})$/.exec(cursor) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

async function sealedOf(c: Ctx, name: string, text: string): Promise<Result<SealedVersion>> {
  const found = await versionOf(c.env, name, text, "version");
  if (!found.ok) return found;
  if (found.value.sealed !== null) return ok(found.value.sealed);
  const detail = 'A diff is of two sealed versions; what changed up to "live" is GET .../manifest?changedSince=<seq>.';
  return fail(failure("unknown-version", detail, { field: "version" }));
}

/** The files of each version after the older one up to the newer, the oldest first. */
async function chainOf(
  c: Ctx,
  name: string,
  older: SealedVersion,
  newer: SealedVersion,
): Promise<Result<SealedVersion["files"][]>> {
  const chain: SealedVersion["files"][] = [];
  for (let at = newer; at.info.number !== older.info.number;) {
    const { parent } = at.info;
    if (parent === null || parent < older.info.number) return noChain(older.info.number, newer.info.number);
    chain.unshift(at.files);
    if (chain.length > CHAIN_MAX) {
      const detail = `There are more than ${CHAIN_MAX} versions between the two; ask in steps.`;
      return fail(failure("invalid-query", detail, { field: "version" }));
    }
    const before = await sealedOf(c, name, String(parent));
    if (!before.ok) return before;
    at = before.value;
  }
  return ok(chain);
}

const kindOf = ({ before, after }: Change): "added" | "changed" | "removed" => {
  if (before === null) return "added";
  return after === null ? "removed" : "changed";
};

const aliasBody = z.strictObject({ version: z.number().int().min(1) });

/** `PUT /v1/datasets/:dataset/aliases/:alias`: has a name mean another sealed version from now on. */
export async function setAlias(c: Ctx): Promise<Response> {
  const alias = aliasSchema.safeParse(c.req.param("alias"));
  if (!alias.success) {
    const rule = alias.error.issues[0]?.message ?? "";
    return refuse(c, failure("invalid-name", `An alias ${rule}.`, { field: "alias" }));
  }
  const body = await readBody(c, aliasBody);
  if (!body.ok) return refuse(c, body.failure);
  const name = c.req.param("dataset") ?? "";
  const moved = await datasetOf(c.env, name).setAlias(alias.data, body.value.version);
  if (!moved.ok) return refuse(c, moved.failure);
  return answer(c, { dataset: name, alias: alias.data, version: body.value.version });
}

/** `DELETE /v1/datasets/:dataset/aliases/:alias` */
export async function removeAlias(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const alias = c.req.param("alias") ?? "";
  const removed = await datasetOf(c.env, name).setAlias(alias, null);
  return removed.ok ? answer(c, { dataset: name, alias, version: null }) : refuse(c, removed.failure);
}
