import type { Context } from "hono";
import type { ApiToken, Config } from "../adapters/config.ts";
import type { JobClaims, Tokens } from "../core/capability/token.ts";
import type { Failure } from "../core/failure.ts";
import { problem } from "./respond.ts";

/** What the middleware has put into a request's context. */
export interface Gateway {
  Bindings: Env;
  Variables: {
    requestId: string;
    config: Config;
    tokens: Tokens;
    /** Set on routes for people and pipelines. */
    apiToken: ApiToken;
    /** Set on routes for a job's nodes. */
    job: JobClaims;
  };
}

export type Ctx = Context<Gateway>;

export const refuse = (c: Ctx, failed: Failure): Response => problem(failed, c.get("requestId"));

/** JSON of the control API: never cached, and no CORS header, so that no page of another origin reads it. */
export const answer = (c: Ctx, body: unknown, status = 200): Response =>
  new Response(JSON.stringify(body), {
    status,
    headers: {
      "content-type": "application/json",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "x-request-id": c.get("requestId"),
    },
  });

/** The origin that data URLs begin with: the data plane's own host, or the one this request came to. */
export function dataOrigin(c: Ctx): string {
  const { dataHost } = c.get("config");
  const url = new URL(c.req.url);
  return dataHost === null ? url.origin : `${url.protocol}//${dataHost}`;
}
