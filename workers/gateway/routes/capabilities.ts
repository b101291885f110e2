import * as z from "zod";
import { asked, datasetNamed } from "../../adapters/ask.ts";
import { datasetOf } from "../../adapters/objects.ts";
import { capabilityClaims, type Operation, OPERATIONS } from "../../core/capability/token.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { CAPABILITY_DEFAULT_SECONDS, CAPABILITY_MAX_SCOPES, PRESIGN_MAX_SECONDS } from "../../core/limits.ts";
import { keySchema, prefixSchema } from "../../core/manifest/dataset.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, dataOrigin, refuse } from "../context.ts";
import { versionOf } from "../version-of.ts";

/** Seconds within which every isolate knows of a revocation: it asks each dataset that it serves more often than that. */
const EVERYWHERE_SECONDS = 60;

const capabilityBody = z
  .strictObject({
    prefixes: z.array(prefixSchema).default([]),
    keys: z.array(keySchema).default([]),
    operations: z.array(z.enum(OPERATIONS)).min(1).max(OPERATIONS.length).default(["read"]),
    version: z.string().max(64).default("live"),
    expiresSeconds: z.number().int().min(1).max(PRESIGN_MAX_SECONDS).default(CAPABILITY_DEFAULT_SECONDS),
  })
  .refine(({ prefixes, keys }) => prefixes.length + keys.length > 0, 'name at least one prefix ("" is all) or key')
  .refine(
    ({ prefixes, keys }) => prefixes.length + keys.length <= CAPABILITY_MAX_SCOPES,
    `name at most ${CAPABILITY_MAX_SCOPES} prefixes and keys in all`,
  );

/** `POST /v1/datasets/:dataset/capabilities`: a signed root URL that reads these prefixes and keys until it expires. */
export async function mint(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const body = await readBody(c, capabilityBody);
  if (!body.ok) return refuse(c, body.failure);
  const { prefixes, keys, operations, version, expiresSeconds } = body.value;
  const found = await versionOf(c.env, name, version, "version");
  if (!found.ok) return refuse(c, found.failure);
  // The dataset itself is asked, for what this isolate remembers may be older than a revocation, and would sign what is
  // dead; and by its clock, which revokes too: who revokes all of them after it has answered revokes this one.
  const view = await asked(datasetNamed(name), async () => datasetOf(c.env, name).readerView());
  if (!view.ok) return refuse(c, view.failure);
  const { config, revoked, nowSeconds } = view.value;
  // A second ahead of the clock where all were revoked in this one; verification allows for more than that.
  const notBefore = Math.max(nowSeconds, revoked.upTo + 1);
  const read = await signedRoot(c, config, { prefixes, keys }, null, expiresSeconds, {
    operations,
    notBefore,
    version: found.value.name,
  });
  return "failure" in read ? refuse(c, read.failure) : answer(c, read, 201);
}

/** `DELETE /v1/datasets/:dataset/capabilities/:id`: revokes one. An id that was never minted is as good as any other. */
export async function revoke(c: Ctx): Promise<Response> {
  const id = c.req.param("id") ?? "";
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(id)) {
    const detail =
      "A capability's id is 1 to 64 letters, digits, _ or -, as the answer had it that brought the capability.";
    return refuse(c, failure("invalid-name", detail, { field: "id" }));
  }
  return revokeIn(c, id);
}

/** `DELETE /v1/datasets/:dataset/capabilities`: revokes all that were minted so far, but those of jobs. */
export const revokeAll = (c: Ctx): Promise<Response> => revokeIn(c, null);

async function revokeIn(c: Ctx, id: string | null): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const revoked = await asked(datasetNamed(name), async () => datasetOf(c.env, name).revokeCapability(id));
  if (!revoked.ok) return refuse(c, revoked.failure);
  const everywhereBy = new Date(Date.now() + EVERYWHERE_SECONDS * 1000).toISOString();
  return answer(c, { dataset: name, id, revoked: true, everywhereBy });
}

export interface SignedRoot {
  /** The capability's `jti`, by which it is revoked. */
  id: string;
  rootUrl: string;
  capability: string;
  expiresAt: string;
  /** Leaves a quarter of its life for the refresh. */
  refreshAfter: string;
  serverTime: string;
}

/**
 * A capability and the root URL that carries it. `more.notBefore`, in seconds since 1970, is the present unless given,
 * and `more.version` the live one; `expiresSeconds` counts from `more.nowSeconds`, which is the present. Those of one
 * `more.id` are revoked together.
 */
export async function signedRoot(
  c: Ctx,
  dataset: { id: string; name: string },
  scope: { prefixes: string[]; keys: string[] },
  job: string | null,
  expiresSeconds: number,
  more: { operations?: Operation[]; notBefore?: number; version?: string; id?: string; nowSeconds?: number } = {},
): Promise<SignedRoot | { failure: Failure }> {
  const { version = "live", nowSeconds = Math.floor(Date.now() / 1000) } = more;
  const id = more.id ?? `${job === null ? "cap" : "job"}-${crypto.randomUUID()}`;
  const claims = capabilityClaims.safeParse({
    ds: dataset.id,
    name: dataset.name,
    ver: version,
    pfx: scope.prefixes,
    keys: scope.keys,
    ops: more.operations ?? ["read"],
    job,
    nbf: more.notBefore ?? nowSeconds,
    exp: nowSeconds + expiresSeconds,
    jti: id,
  });
  if (!claims.success) {
    const rule = claims.error.issues[0]?.message ?? "";
    return { failure: failure("invalid-body", `The prefixes and keys do not fit a capability: ${rule}`) };
  }
  const capability = await c.get("tokens").mintCapability(claims.data);
  const at = (seconds: number) => new Date(seconds * 1000).toISOString();
  return {
    id,
    rootUrl: `${dataOrigin(c)}/t/${capability}/${dataset.name}${version === "live" ? "" : `@${version}`}/`,
    capability,
    expiresAt: at(nowSeconds + expiresSeconds),
    refreshAfter: at(nowSeconds + Math.floor(expiresSeconds * 0.75)),
    serverTime: at(nowSeconds),
  };
}
