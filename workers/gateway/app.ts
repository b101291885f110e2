import { Hono } from "hono";
import { configOf } from "../adapters/config.ts";
import { tokensOf } from "../adapters/tokens.ts";
import { failure } from "../core/failure.ts";
import { datasetInPath, jobToken, role } from "./auth.ts";
import { type Gateway, refuse } from "./context.ts";
import { loggable } from "./log.ts";
import * as capabilities from "./routes/capabilities.ts";
import * as datasets from "./routes/datasets.ts";
import { urls } from "./routes/job-urls.ts";
import * as jobs from "./routes/jobs.ts";
import * as migrations from "./routes/migrations.ts";
import * as sources from "./routes/sources.ts";

export const app = new Hono<Gateway>();

app.use(async (c, next) => {
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
});

// The data plane is served before (`read/data-plane.ts`). On a host of its own, that host serves nothing else.
app.use(async (c, next) => {
  const { dataHost } = c.get("config");
  if (dataHost === null || new URL(c.req.url).host !== dataHost) return next();
  return refuse(c, failure("unknown-route", "Only data is served here."));
});

// For people and pipelines.
app.get("/v1/sources", role("read"), sources.list);
app.post("/v1/sources/:source/check", role("admin"), sources.check);

app.get("/v1/datasets", role("read"), datasets.list);
app.get("/v1/datasets/:dataset", role("read"), datasetInPath, datasets.describe);
app.put("/v1/datasets/:dataset", role("admin"), datasetInPath, datasets.register);
app.get("/v1/datasets/:dataset/manifest", role("read"), datasetInPath, datasets.manifest);
app.post("/v1/datasets/:dataset/capabilities", role("read"), datasetInPath, capabilities.mint);
app.delete("/v1/datasets/:dataset/capabilities", role("admin"), datasetInPath, capabilities.revokeAll);
app.delete("/v1/datasets/:dataset/capabilities/:id", role("submit"), datasetInPath, capabilities.revoke);

app.get("/v1/migrations", role("read"), migrations.list);
app.post("/v1/migrations", role("admin"), migrations.start);
app.get("/v1/migrations/:id", role("read"), migrations.status);

app.get("/v1/jobs", role("read"), jobs.list);
app.post("/v1/jobs", role("submit"), jobs.create);
app.get("/v1/jobs/:id", role("read"), jobs.status);
app.post("/v1/jobs/:id/cancel", role("submit"), jobs.cancel);

// For a job's nodes.
app.post("/v1/jobs/:id/heartbeat", jobToken, jobs.heartbeat);
app.post("/v1/jobs/:id/urls", jobToken, urls);
app.post("/v1/jobs/:id/finish", jobToken, jobs.finish);

app.notFound((c) => refuse(c, failure("unknown-route", "See the README for the routes there are.")));
app.onError((error, c) => {
  console.error(JSON.stringify({ message: "request failed", requestId: c.get("requestId"), error: String(error) }));
  return refuse(c, failure("internal", "The log has this under the request id."));
});
