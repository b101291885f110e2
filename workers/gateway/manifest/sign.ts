import { asked, datasetNamed } from "../../adapters/ask.ts";
import { datasetOf } from "../../adapters/objects.ts";
import { webHmac } from "../../adapters/web-hmac.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { formatDataUrl } from "../../core/http/key-path.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
import type { StoredRow } from "../../core/manifest/row.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { createPresigner } from "../../core/sigv4/presign.ts";
import type { Ctx } from "../context.ts";
import { signedRoot } from "../routes/capabilities.ts";

export type Signable = Pick<StoredRow, "key" | "etag">;

/** A URL that reads one object, and what must be sent with it. */
export interface SignedUrl {
  url: string;
  headers: Readonly<Record<string, string>>;
}

/** Gives objects of one dataset URLs that read them without a token: each opens that object alone, all until one time. */
export interface Signer {
  /** RFC 3339. */
  expiresAt: string;
  serverTime: string;
  /** A key that no URL can name is refused by itself. */
  sign(row: Signable): Promise<Result<SignedUrl>>;
}

/**
 * Signs by the edge, with a capability of each key, or by R2. Whoever may mint a capability may have either; only those of
 * the edge can be revoked, all of one signer by one id.
 *
 * @param version null: the live objects
 */
export async function signerOf(
  c: Ctx,
  name: string,
  via: "edge" | "r2",
  version: number | null,
  expiresSeconds: number,
): Promise<Result<Signer>> {
  // By the dataset's own clock, which revokes too: see `mint`.
  const view = await asked(datasetNamed(name), async () => datasetOf(c.env, name).readerView());
  if (!view.ok) return view;
  const { config, revoked, nowSeconds } = view.value;
  if (via === "r2") return presigner(c, config, version, expiresSeconds);
  const notBefore = Math.max(nowSeconds, revoked.upTo + 1);
  return ok(edgeSigner(c, config, String(version ?? "live"), notBefore, expiresSeconds));
}

function edgeSigner(
  c: Ctx,
  dataset: DatasetConfig,
  version: string,
  notBefore: number,
  expiresSeconds: number,
): Signer {
  const nowSeconds = Math.floor(Date.now() / 1000);
  const more = { notBefore, version, nowSeconds, id: `cap-${crypto.randomUUID()}` };
  return {
    ...timesOf(nowSeconds * 1000, expiresSeconds),
    async sign({ key }) {
      const root = await signedRoot(c, dataset, { prefixes: [], keys: [key] }, null, expiresSeconds, more);
      if ("failure" in root) return fail(root.failure);
      return ok({ url: formatDataUrl(root.rootUrl.slice(0, -1), key), headers: {} });
    },
  };
}

async function presigner(
  c: Ctx,
  dataset: DatasetConfig,
  version: number | null,
  expiresSeconds: number,
): Promise<Result<Signer>> {
  const { buckets, r2Endpoint, r2Credentials } = c.get("config");
  const bucket = buckets.get(dataset.bucket);
  if (bucket === undefined) return fail(unnamed(dataset.bucket));
  // As the URL says it, in whole seconds.
  const now = Math.floor(Date.now() / 1000) * 1000;
  const endpoint = { endpoint: r2Endpoint, region: "auto", addressing: "path" as const, ...r2Credentials };
  const presign = await createPresigner(webHmac, endpoint, now);
  return ok({
    ...timesOf(now, expiresSeconds),
    async sign({ key, etag }) {
      // R2 knows nothing of versions: by this it answers 412 where the object is no longer the one that was sealed.
      const headers: Record<string, string> = version === null ? {} : { "if-match": `"${etag}"` };
      const url = presign({ method: "GET", bucket, key: dataset.prefix + key, expiresSeconds, headers });
      return url.ok ? ok({ url: url.value, headers }) : url;
    },
  });
}

const timesOf = (now: number, expiresSeconds: number): Pick<Signer, "expiresAt" | "serverTime"> => ({
  expiresAt: new Date(now + expiresSeconds * 1000).toISOString(),
  serverTime: new Date(now).toISOString(),
});

const unnamed = (bucket: string): Failure => failure("unknown-bucket", `"${bucket}" has no name in [vars.BUCKETS].`);
