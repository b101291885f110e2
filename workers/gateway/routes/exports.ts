import type { SealedVersion } from "../../../durable-objects/dataset/dataset.ts";
import { sha256Hex } from "../../adapters/web-hmac.ts";
import { CROISSANT_TYPE } from "../../core/exports/croissant.ts";
import { formatMscIndex, formatMscLine, MSC_INDEX, parseMscPart } from "../../core/exports/msc.ts";
import { STAC_TYPE } from "../../core/exports/stac.ts";
import { failure } from "../../core/failure.ts";
import { modifiedAt } from "../../core/manifest/query.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { readQuery } from "../body.ts";
import { type Ctx, refuse } from "../context.ts";
import { croissant } from "../exports/croissant.ts";
import { croissantQuery, nothing, stacQuery } from "../exports/query.ts";
import { stac } from "../exports/stac.ts";
import { type Exported, listingOf, refusedBase } from "../exports/version.ts";
import { sha256sum, whole } from "../manifest/stream.ts";
import { documentHeaders, unchanged } from "../tagged.ts";
import { streamOf } from "../stream-of.ts";
import { versionOf } from "../version-of.ts";

const FORMATS = ["croissant", "msc", "stac", "sha256sum"] as const;
type Format = (typeof FORMATS)[number];

const EXPORTS: Record<Format, (c: Ctx, from: Exported) => Promise<Response>> = {
  async croissant(c, from) {
    const query = readQuery(c, croissantQuery);
    if (!query.ok) return refuse(c, query.failure);
    const refused = refusedBase(from, query.value.base);
    if (refused !== null) return refuse(c, refused);
    // Its record sets are of what is in the bucket now, so that no two are sure to be alike.
    return answered(c, from, CROISSANT_TYPE, false, () => croissant(c, from, query.value));
  },
  async stac(c, from) {
    const query = readQuery(c, stacQuery);
    if (!query.ok) return refuse(c, query.failure);
    const { base } = query.value;
    const refused = refusedBase(from, base);
    if (refused !== null) return refuse(c, refused);
    return answered(c, from, STAC_TYPE, base !== undefined, () => stac(c, from, query.value));
  },
  async msc(c, from) {
    const query = readQuery(c, nothing);
    if (!query.ok) return refuse(c, query.failure);
    const index = formatMscIndex(from.lists.length);
    return answered(c, from, "application/json", true, async () => ok({ body: index }));
  },
  async sha256sum(c, from) {
    const query = readQuery(c, nothing);
    if (!query.ok) return refuse(c, query.failure);
    return answered(c, from, "text/plain; charset=utf-8", true, async () => {
      const listing = listingOf(c, from, from.sealed.files);
      const first = await listing.begin();
      if (!first.ok) return first;
      return ok({ body: streamOf(() => sha256sum({ listing })) });
    });
  },
};

/** `GET /v1/datasets/:dataset/versions/:version/exports/:format`: a sealed version as another tool of the field reads it. */
export async function exported(c: Ctx): Promise<Response> {
  const name = c.req.param("format") ?? "";
  const format = FORMATS.find((each) => each === name);
  if (format === undefined) {
    const detail = `There is no export "${name.slice(0, 64)}"; there are ${FORMATS.join(", ")}.`;
    return refuse(c, failure("unknown-route", detail, { field: "format" }));
  }
  const found = await sealedOf(c);
  return found.ok ? EXPORTS[format](c, found.value) : refuse(c, found.failure);
}

/** `GET .../exports/msc/msc_manifest_index.json`: where the parts are, as the index names them, relative to it. */
export async function mscIndex(c: Ctx): Promise<Response> {
  const found = await sealedOf(c);
  return found.ok ? EXPORTS.msc(c, found.value) : refuse(c, found.failure);
}

/** `GET .../exports/msc/parts/:part`: a part for each Parquet file of the version. */
export async function mscPart(c: Ctx): Promise<Response> {
  const found = await sealedOf(c);
  if (!found.ok) return refuse(c, found.failure);
  const query = readQuery(c, nothing);
  if (!query.ok) return refuse(c, query.failure);
  const { lists } = found.value;
  const number = parseMscPart(c.req.param("part") ?? "");
  const list = number === null ? undefined : lists[number];
  if (list === undefined) {
    const detail = `There is no such part; .../exports/msc/${MSC_INDEX} names the ${lists.length} there are.`;
    return refuse(c, failure("unknown-route", detail, { field: "part" }));
  }
  return answered(c, found.value, "application/x-ndjson", true, async () => {
    const listing = listingOf(c, found.value, [list]);
    const first = await listing.begin();
    if (!first.ok) return first;
    return ok({
      body: streamOf(async function* () {
        for await (const { rows } of whole(listing)) {
          const lines = rows.map((row) => formatMscLine(row, new Date(modifiedAt(row)).toISOString()));
          yield new TextEncoder().encode(lines.join(""));
        }
      }),
    });
  });
}

async function sealedOf(c: Ctx): Promise<Result<Exported>> {
  const name = c.req.param("dataset") ?? "";
  const found = await versionOf(c.env, name, c.req.param("version") ?? "", "version");
  if (!found.ok) return found;
  const { sealed } = found.value;
  if (sealed !== null) return ok({ name, sealed, lists: listsOf(sealed) });
  const detail = `An export is of a sealed version. Seal one by POST /v1/datasets/${name}/versions, and name its number.`;
  return fail(failure("unknown-version", detail, { field: "version" }));
}

const listsOf = ({ files }: SealedVersion) => files.filter(({ kind }) => kind === "manifest");

interface Body {
  body: string | ReadableStream<Uint8Array>;
  headers?: Record<string, string>;
}

/**
 * A version never changes: what is made of nothing else (`isLasting`), and has no signed URLs in it, is asked for again by
 * its ETag alone.
 */
async function answered(
  c: Ctx,
  { sealed }: Exported,
  type: string,
  isLasting: boolean,
  make: () => Promise<Result<Body>>,
): Promise<Response> {
  const { pathname, search } = new URL(c.req.url);
  const said = [sealed.datasetId, sealed.info.number, pathname.slice(pathname.indexOf("/exports/")), search];
  const tag = isLasting ? (await sha256Hex(JSON.stringify(said))).slice(0, 32) : null;
  const headers = documentHeaders(c, type, tag);
  const held = unchanged(c, tag, headers);
  if (held !== null) return held;
  const made = await make();
  if (!made.ok) return refuse(c, made.failure);
  return new Response(made.value.body, { headers: { ...headers, ...made.value.headers } });
}
