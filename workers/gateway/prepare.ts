import type { MiddlewareHandler } from "hono";
import { configOf } from "../adapters/config.ts";
import { tokensOf } from "../adapters/tokens.ts";
import { type Gateway, refuse } from "./context.ts";
import { loggable } from "./log.ts";

/** Gives a request its id and the configuration, and the log a line of its answer. */
export const prepare: MiddlewareHandler<Gateway> = async (c, next) => {
  const started = Date.now();
  c.set("requestId", crypto.randomUUID());
  const config = configOf(c.env);
  if (!config.ok) {
    console.error(JSON.stringify({ message: "misconfigured", detail: config.failure.detail }));
    return refuse(c, config.failure);
  }
  c.set("config", config.value);
  c.set("tokens", tokensOf(c.env, config.value));
  await next();
  const { method, url } = c.req.raw;
  const requestId = c.get("requestId");
  const line = { method, path: loggable(url), status: c.res.status, ms: Date.now() - started, requestId };
  console.log(JSON.stringify(line));
  return undefined;
};
