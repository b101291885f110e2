import { Hono } from "hono";
import { failure } from "../core/failure.ts";
import { datasetInPath, jobToken, role } from "./auth.ts";
import { type Gateway, refuse } from "./context.ts";
import { prepare } from "./prepare.ts";
import * as capabilities from "./routes/capabilities.ts";
import * as datasets from "./routes/datasets.ts";
import { urls } from "./routes/job-urls.ts";
import * as jobs from "./routes/jobs.ts";
import * as control from "./routes/migration-control.ts";
import { events } from "./routes/migration-events.ts";
import { report } from "./routes/migration-report.ts";
import * as migrations from "./routes/migrations.ts";
import * as sources from "./routes/sources.ts";

export const app = new Hono<Gateway>();

app.use(prepare);

// The data plane is served before (`read/data-plane.ts`). On a host of its own, that host serves nothing else.
app.use(async (c, next) => {
  const { dataHost } = c.get("config");
  if (dataHost === null || new URL(c.req.url).host !== dataHost) return next();
  return refuse(c, failure("unknown-route", "Only data is served here."));
});

// For people and pipelines.
app.get("/v1/sources", role("read"), sources.list);
app.post("/v1/sources/:source/check", role("admin"), sources.check);
app.patch("/v1/sources/:source/limits", role("admin"), sources.setLimits);

app.get("/v1/datasets", role("read"), datasets.list);
app.get("/v1/datasets/:dataset", role("read"), datasetInPath, datasets.describe);
app.put("/v1/datasets/:dataset", role("admin"), datasetInPath, datasets.register);
app.patch("/v1/datasets/:dataset", role("admin"), datasetInPath, datasets.change);
app.get("/v1/datasets/:dataset/manifest", role("read"), datasetInPath, datasets.manifest);
app.post("/v1/datasets/:dataset/capabilities", role("read"), datasetInPath, capabilities.mint);
app.delete("/v1/datasets/:dataset/capabilities", role("admin"), datasetInPath, capabilities.revokeAll);
app.delete("/v1/datasets/:dataset/capabilities/:id", role("submit"), datasetInPath, capabilities.revoke);

app.get("/v1/migrations", role("read"), migrations.list);
app.post("/v1/migrations", role("admin"), migrations.start);
app.get("/v1/migrations/:id", role("read"), migrations.status);
app.get("/v1/migrations/:id/events", role("read"), events);
app.get("/v1/migrations/:id/report", role("read"), report);
app.post("/v1/migrations/:id/pause", role("admin"), control.pause);
app.post("/v1/migrations/:id/resume", role("admin"), control.resume);
app.post("/v1/migrations/:id/cancel", role("admin"), control.cancel);
app.post("/v1/migrations/:id/retry", role("admin"), control.retry);
app.post("/v1/migrations/:id/verify", role("admin"), control.verify);

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
