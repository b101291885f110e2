import type { MiddlewareHandler } from "hono";
import { type ApiToken, type Role, ROLES } from "../adapters/config.ts";
import { sha256Hex, timingSafeEqual } from "../adapters/web-hmac.ts";
import { type Failure, failure } from "../core/failure.ts";
import { nameSchema } from "../core/manifest/dataset.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { type Ctx, type Gateway, refuse } from "./context.ts";

/** Lets through who holds an API token of this role or a higher one: read < submit < admin. */
export const role =
  (needed: Role): MiddlewareHandler<Gateway> =>
  async (c, next) => {
    const token = bearer(c.req.header("authorization"));
    if (!token.ok) return refuse(c, token.failure);
    const known = await findApiToken(c.get("config").apiTokens, token.value);
    if (known === null) return refuse(c, failure("invalid-token", "The API token is not one of ours."));
    if (ROLES.indexOf(known.role) < ROLES.indexOf(needed)) {
      return refuse(c, failure("forbidden-role", `This needs the role "${needed}"; the token has "${known.role}".`));
    }
    c.set("apiToken", known);
    await next();
    return undefined;
  };

/** Lets through who holds the token of the job in the path. */
export const jobToken: MiddlewareHandler<Gateway> = async (c, next) => {
  const token = bearer(c.req.header("authorization"));
  if (!token.ok) return refuse(c, token.failure);
  const claims = await c.get("tokens").verifyJobToken(token.value, Date.now());
  if (!claims.ok) return refuse(c, claims.failure);
  if (claims.value.job !== c.req.param("id")) {
    return refuse(c, failure("out-of-scope", "The token is another job's."));
  }
  c.set("job", claims.value);
  await next();
  return undefined;
};

/**
 * Lets through who holds an API token of this role or a higher one, who alone has `apiToken` set, or the token of the job in
 * the path. Of the first, `namedJob` looks at the job's dataset.
 */
export const jobTokenOrRole =
  (needed: Role): MiddlewareHandler<Gateway> =>
  async (c, next) => {
    const token = bearer(c.req.header("authorization"));
    const known = token.ok ? await findApiToken(c.get("config").apiTokens, token.value) : null;
    return known === null ? jobToken(c, next) : role(needed)(c, next);
  };

/** Whether the API token may touch this dataset. */
export function datasetAllowed(token: ApiToken, dataset: string): Failure | null {
  if (token.datasets === undefined || token.datasets.includes(dataset)) return null;
  return failure("out-of-scope", `The token is limited to other datasets than "${dataset}".`);
}

/** Lets through API tokens that may touch the dataset in the path. */
export const datasetInPath: MiddlewareHandler<Gateway> = async (c, next) => {
  const name = c.req.param("dataset") ?? "";
  const refused = datasetAllowed(c.get("apiToken"), name);
  if (refused !== null) return refuse(c, refused);
  // An object is made by asking for it: only names that a dataset can have are asked for. PUT says what is wrong.
  if (c.req.method !== "PUT" && !nameSchema.safeParse(name).success) {
    return refuse(c, failure("unknown-dataset", "No dataset can have this name.", { field: "dataset" }));
  }
  await next();
  return undefined;
};

export function bearer(header: string | undefined | null): Result<string> {
  if (header === undefined || header === null || header === "") {
    return fail(failure("missing-token", "Send the header Authorization: Bearer <token>.", { field: "authorization" }));
  }
  const match = /^Bearer +([\x21-\x7e]+) *$/i.exec(header);
  return match?.[1] === undefined
    ? fail(failure("invalid-token", "The Authorization header is not of the form Bearer <token>."))
    : ok(match[1]);
}

/** Looks at every hash, and compares in constant time: how long it takes tells nothing of the tokens. */
async function findApiToken(tokens: readonly ApiToken[], presented: string): Promise<ApiToken | null> {
  const encoder = new TextEncoder();
  const hash = encoder.encode(await sha256Hex(presented));
  let found: ApiToken | null = null;
  for (const token of tokens) if (timingSafeEqual(encoder.encode(token.sha256), hash)) found = token;
  return found;
}

/** The context of a request that a `role` has let through. */
export const tokenOf = (c: Ctx): ApiToken => c.get("apiToken");
