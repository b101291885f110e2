import { Hono } from "hono";
import { isAway } from "../adapters/ask.ts";
import { failure } from "../core/failure.ts";
import { datasetInPath, jobToken, jobTokenOrRole, role } from "./auth.ts";
import { type Gateway, refuse } from "./context.ts";
import { prepare } from "./prepare.ts";
import * as capabilities from "./routes/capabilities.ts";
import * as datasets from "./routes/datasets.ts";
import * as exports from "./routes/exports.ts";
import * as jobEvents from "./routes/job-events.ts";
import { series } from "./routes/job-series.ts";
import * as jobAccess from "./routes/job-access.ts";
import * as checkpoints from "./routes/job-checkpoints.ts";
import * as outputs from "./routes/job-outputs.ts";
import { urls } from "./routes/job-urls.ts";
import * as leases from "./routes/job-leases.ts";
import * as jobs from "./routes/jobs.ts";
import { manifest } from "./routes/manifest.ts";
import * as places from "./routes/places.ts";
import * as registry from "./routes/registry.ts";
import { resolve } from "./routes/resolve.ts";
import * as control from "./routes/migration-control.ts";
import { events } from "./routes/migration-events.ts";
import { report } from "./routes/migration-report.ts";
import * as migrations from "./routes/migrations.ts";
import { records } from "./routes/records.ts";
import * as reconcile from "./routes/reconcile.ts";
import * as sources from "./routes/sources.ts";
import * as versions from "./routes/versions.ts";

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
app.get("/v1/datasets/:dataset/manifest", role("read"), datasetInPath, manifest);
app.post("/v1/datasets/:dataset/places", role("admin"), datasetInPath, places.place);
app.get("/v1/datasets/:dataset/registry", role("read"), datasetInPath, registry.get);
app.post("/v1/datasets/:dataset/registry", role("admin"), datasetInPath, registry.put);
app.get("/v1/resolve", role("read"), resolve);
app.post("/v1/datasets/:dataset/versions", role("submit"), datasetInPath, versions.seal);
app.get("/v1/datasets/:dataset/versions", role("read"), datasetInPath, versions.list);
app.get("/v1/datasets/:dataset/versions/:version", role("read"), datasetInPath, versions.describe);
app.get("/v1/datasets/:dataset/versions/:version/exports/:format", role("read"), datasetInPath, exports.exported);
app.get(
  "/v1/datasets/:dataset/versions/:version/exports/msc/msc_manifest_index.json",
  role("read"),
  datasetInPath,
  exports.mscIndex,
);
app.get(
  "/v1/datasets/:dataset/versions/:version/exports/msc/parts/:part",
  role("read"),
  datasetInPath,
  exports.mscPart,
);
app.put("/v1/datasets/:dataset/aliases/:alias", role("submit"), datasetInPath, versions.setAlias);
app.delete("/v1/datasets/:dataset/aliases/:alias", role("submit"), datasetInPath, versions.removeAlias);
app.post("/v1/datasets/:dataset/reconcile", role("admin"), datasetInPath, reconcile.start);
app.get("/v1/datasets/:dataset/reconcile", role("read"), datasetInPath, reconcile.status);
app.get("/v1/datasets/:dataset/records", role("read"), datasetInPath, records);
app.get("/v1/datasets/:dataset/records/*", role("read"), datasetInPath, records);
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
app.get("/v1/jobs/:id/series", role("read"), series);
app.get("/v1/jobs/:id/events", jobTokenOrRole("read"), jobEvents.events);

// For a job's nodes.
app.post("/v1/jobs/:id/heartbeat", jobToken, jobs.heartbeat);
app.post("/v1/jobs/:id/leases", jobToken, leases.leases);
app.post("/v1/jobs/:id/acks", jobToken, leases.acks);
app.post("/v1/jobs/:id/checkpoint", jobToken, leases.checkpoint);
app.post("/v1/jobs/:id/urls", jobToken, urls);
app.post("/v1/jobs/:id/token", jobToken, jobAccess.refresh);
app.get("/v1/jobs/:id/bootstrap", jobToken, jobAccess.bootstrap);
app.post("/v1/jobs/:id/finish", jobToken, jobs.finish);
app.post("/v1/jobs/:id/outputs", jobToken, outputs.announce);
app.post("/v1/jobs/:id/outputs/parts", jobToken, outputs.parts);
app.post("/v1/jobs/:id/outputs/commit", jobToken, outputs.commit);
app.post("/v1/jobs/:id/outputs/abort", jobToken, outputs.abort);

// For both.
app.get("/v1/jobs/:id/checkpoints", jobTokenOrRole("read"), checkpoints.list);
app.get("/v1/jobs/:id/checkpoints/:name", jobTokenOrRole("read"), checkpoints.get);

app.notFound((c) => refuse(c, failure("unknown-route", "See the README for the routes there are.")));
app.onError((error, c) => {
  console.error(JSON.stringify({ message: "request failed", requestId: c.get("requestId"), error: String(error) }));
  // Of routes that ask an object as it is, without `asked`.
  if (isAway(error)) return refuse(c, failure("store-unavailable", "What was asked is away for a moment; ask again."));
  return refuse(c, failure("internal", "The log has this under the request id."));
});
