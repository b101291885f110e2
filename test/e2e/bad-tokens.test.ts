import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createClient } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { type Source, startLocalSource } from "../harness/local-source.ts";
import { type InstanceSecrets, startFreshInstance } from "./fresh-instance.ts";
import { expectProblem, type Refusal } from "./problem.ts";
import { send } from "./raw-http.ts";
import { listStored, storeObject } from "./stored-object.ts";

type Role = "read" | "submit" | "admin";

/** Every route for API tokens: method, path, the least role, whether it names a dataset, a body that is right. */
const API_ROUTES: [string, string, Role, boolean, unknown?][] = [
  ["GET", "/v1/sources", "read", false],
  ["POST", "/v1/sources/local/check", "admin", false],
  ["GET", "/v1/datasets", "read", false],
  ["GET", "/v1/datasets/era5", "read", true],
  ["PUT", "/v1/datasets/era5", "admin", true, { kind: "files", prefix: "era5/" }],
  ["PATCH", "/v1/datasets/era5", "admin", true, { read: "r2" }],
  ["GET", "/v1/datasets/era5/manifest", "read", true],
  ["POST", "/v1/datasets/era5/places", "admin", true, { prefix: "", reset: true }],
  ["GET", "/v1/datasets/era5/registry", "read", true],
  ["POST", "/v1/datasets/era5/registry", "admin", true, { registry: {} }],
  ["GET", "/v1/resolve?name=a", "read", false],
  ["POST", "/v1/datasets/era5/capabilities", "read", true, { prefixes: [""] }],
  ["GET", "/v1/migrations", "read", false],
  ["POST", "/v1/migrations", "admin", true, { dataset: "era5" }],
  ["GET", "/v1/migrations/MIGRATION", "read", true],
  ["GET", "/v1/migrations/MIGRATION/events", "read", true],
  ["GET", "/v1/migrations/MIGRATION/report", "read", true],
  ["POST", "/v1/migrations/MIGRATION/pause", "admin", true],
  ["POST", "/v1/migrations/MIGRATION/resume", "admin", true],
  ["POST", "/v1/migrations/MIGRATION/cancel", "admin", true],
  ["POST", "/v1/migrations/MIGRATION/retry", "admin", true],
  ["POST", "/v1/migrations/MIGRATION/verify", "admin", true, { deep: true }],
  ["GET", "/v1/jobs", "read", false],
  ["POST", "/v1/jobs", "submit", true, { name: "j", dataset: "era5", input: { prefixes: [""] } }],
  ["GET", "/v1/jobs/JOB", "read", true],
  ["POST", "/v1/jobs/JOB/cancel", "submit", true],
];

/** Every route for a job's own token. */
const JOB_ROUTES: [string, unknown][] = [
  ["heartbeat", { node: "node-0" }],
  ["urls", { method: "GET", keys: ["t2m/0"] }],
  ["finish", {}],
];

const limited = `pst_${randomBytes(24).toString("base64url")}`;
const garbage = "pst_this-is-not-one-of-ours";

let source: Source & { stop(): Promise<void> };
let instance: Instance & { secrets: InstanceSecrets };
let migration = "";
let job = { id: "", token: "" };
let otherJob = { id: "", token: "" };
let capability = "";

beforeAll(async () => {
  source = await startLocalSource();
  const apiTokens = [{ token: limited, role: "admin", datasets: ["another"] }];
  instance = await startFreshInstance({ name: "e2e-bad-tokens", sources: { local: source }, apiTokens });
  const admin = createClient(instance.url, instance.tokens.admin);
  const era5 = { kind: "files", prefix: "era5/", source: { name: "local", prefix: "" } };
  await admin.call("PUT", "/v1/datasets/era5", era5);
  await admin.call("PUT", "/v1/datasets/another", { kind: "files", prefix: "another/" });
  migration = (await admin.call<{ id: string }>("POST", "/v1/migrations", { dataset: "era5" })).id;
  await storeObject(instance, "era5/t2m/0", Buffer.from("0"));
  await listStored(admin, "era5");
  const body = { name: "j", dataset: "era5", input: { prefixes: ["t2m/"] } };
  job = await admin.call("POST", "/v1/jobs", body);
  otherJob = await admin.call("POST", "/v1/jobs", body);
  const scope = { prefixes: [""] };
  capability = (await admin.call<{ capability: string }>("POST", "/v1/datasets/era5/capabilities", scope)).capability;
});

afterAll(async () => {
  await instance?.stop();
  await source?.stop();
});

/** The token with one bit of its signature changed. */
const forged = (token: string) => {
  const at = token.lastIndexOf(".") + 1;
  return token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
};
const unsigned = (token: string) => `${btoa('{"alg":"none","typ":"job"}').replaceAll("=", "")}.${token.split(".")[1]}.`;

interface Case {
  method: string;
  path: string;
  authorization?: string | undefined;
  body?: unknown;
}
async function refused({ method, path, authorization, body }: Case, refusal: Refusal): Promise<void> {
  const answer = await send(`${instance.url}${path.replace("MIGRATION", migration).replace("JOB", job.id)}`, {
    method,
    headers: {
      ...(authorization === undefined ? {} : { authorization }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const { masterKeys, r2 } = instance.secrets;
  const tokens = [...Object.values(instance.tokens), limited, garbage, job.token, otherJob.token, capability];
  expectProblem(answer, refusal, [
    ...tokens,
    ...masterKeys.split(":").slice(1),
    r2.secretAccessKey,
    source.secretAccessKey,
  ]);
}

const missing: Refusal = { status: 401, code: "missing-token", field: "authorization" };
const invalid: Refusal = { status: 401, code: "invalid-token" };

describe.each(API_ROUTES)("%s %s", (method, path, _role, _namesDataset, body) => {
  const call = (authorization: string | undefined, refusal: Refusal) =>
    refused({ method, path, body, authorization }, refusal);

  it("is 401 without a token, or with one that is not ours", async () => {
    await call(undefined, missing);
    await call("", missing);
    await call(`Bearer ${garbage}`, invalid);
    await call(`Bearer ${instance.tokens.admin}x`, invalid);
    await call(`Bearer ${instance.tokens.admin} ${instance.tokens.admin}`, invalid);
    await call(`Basic ${btoa(`admin:${instance.tokens.admin}`)}`, invalid);
    await call("Bearer", invalid);
  });

  it("is 401 with a job token or a capability: they are no API tokens", async () => {
    await call(`Bearer ${job.token}`, invalid);
    await call(`Bearer ${capability}`, invalid);
  });
});

const ROLES: Role[] = ["read", "submit", "admin"];
const tooLow = API_ROUTES.flatMap(([method, path, needed, , body]) =>
  ROLES.slice(0, ROLES.indexOf(needed)).map((role) => ({ method, path, role, body })),
);
it.each(tooLow)("$method $path is 403 with the role $role", async ({ method, path, role, body }) => {
  const authorization = `Bearer ${instance.tokens[role]}`;
  await refused({ method, path, body, authorization }, { status: 403, code: "forbidden-role" });
});

const ofDataset = API_ROUTES.filter(([, , , namesDataset]) => namesDataset);
it.each(ofDataset)("%s %s is 403 with a token that is limited to other datasets", async (method, path, _, __, body) => {
  await refused({ method, path, body, authorization: `Bearer ${limited}` }, { status: 403, code: "out-of-scope" });
});

describe.each(JOB_ROUTES)("POST /v1/jobs/:id/%s", (route, body) => {
  const call = (token: string | undefined, refusal: Refusal) =>
    refused(
      {
        method: "POST",
        path: `/v1/jobs/JOB/${route}`,
        body,
        authorization: token === undefined ? undefined : `Bearer ${token}`,
      },
      refusal,
    );

  it("is 401 without a token, or with one that is not ours, forged or unsigned", async () => {
    await call(undefined, missing);
    for (const token of [garbage, instance.tokens.admin, forged(job.token), unsigned(job.token), "a.b.c"]) {
      await call(token, invalid);
    }
  });

  it("is 403 with a capability: it is a token of ours, of another kind", async () => {
    await call(capability, { status: 403, code: "wrong-token-kind" });
  });

  it("is 403 with another job's token", async () => {
    await call(otherJob.token, { status: 403, code: "out-of-scope" });
  });
});

describe.each([
  ["a path capability", (token: string) => ({ method: "GET", path: `/t/${token}/era5/t2m/0` })],
  ["?token=", (token: string) => ({ method: "GET", path: `/d/era5/t2m/0?token=${token}` })],
  ["the header", (token: string) => ({ method: "GET", path: "/d/era5/t2m/0", authorization: `Bearer ${token}` })],
])("the data plane, asked by %s", (_, by) => {
  it("is 401 with an API token, or a capability that is forged or unsigned", async () => {
    for (const token of [garbage, instance.tokens.admin, forged(capability), unsigned(capability)]) {
      await refused(by(token), invalid);
    }
  });

  it("is 403 with a job token", async () => {
    await refused(by(job.token), { status: 403, code: "wrong-token-kind" });
  });

  it("is 403 with a capability of a job that was cancelled before it was first used", async () => {
    const admin = createClient(instance.url, instance.tokens.admin);
    const body = { name: "gone", dataset: "era5", input: { prefixes: [""] } };
    const gone = await admin.call<{ id: string; read: { capability: string } }>("POST", "/v1/jobs", body);
    await admin.call("POST", `/v1/jobs/${gone.id}/cancel`);
    // A job's capability is of the version that it reads.
    const sealed = by(gone.read.capability);
    const path = sealed.path.replace("/era5/", "/era5@1/");
    await refused({ ...sealed, path }, { status: 403, code: "revoked-token" });
  });
});

describe("lists", () => {
  it.each(["datasets", "migrations", "jobs"])("of %s show a limited token only what it may touch", async (list) => {
    const client = createClient(instance.url, limited);
    const found = await client.call<Record<string, { name?: string }[]>>("GET", `/v1/${list}`);
    expect(found[list]?.map(({ name }) => name)).toEqual(list === "datasets" ? ["another"] : []);
  });
});
