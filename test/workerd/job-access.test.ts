import { env } from "cloudflare:workers";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ADMIN, api, apiTokens, request } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";
import { startJob } from "./harness/node.ts";

interface Root {
  rootUrl: string;
  expiresAt: string;
  refreshAfter: string;
  serverTime: string;
  scope: { prefixes: string[]; keys: string[] };
}
interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  expiresAt: string;
  refreshAfter: string;
  actions: string[];
  prefixes: string[];
  keys: string[];
}
interface Access {
  read: Root | null;
  readOutputs?: Root;
  direct: {
    endpoint: string;
    bucket: string;
    prefix: string;
    credentials: { read: Credentials | null; write: Credentials | null; note: string | null };
  };
  environment: string;
  serverTime: string;
}

const R2 = "https://023e105f4ecef8ad9ca31a8372d0c353.r2.cloudflarestorage.com";
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const HOUR = 3_600_000;

let seen: Env;
let elsewhere: Env;
let dataset: { datasetId: string; datasetName: string; prefix: string };
beforeAll(async () => {
  elsewhere = { ...env, ...(await apiTokens()) } as unknown as Env;
  seen = { ...elsewhere, R2_ENDPOINT: R2 };
  const { id, seal } = await fillDataset(seen, "reached", "files", { "in/a": "input", "other/b": "other" });
  await seal();
  dataset = { datasetId: id, datasetName: "reached", prefix: "reached/" };
});
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

const start = (more: object = {}) => startJob(seen, { ...dataset, input: { prefixes: ["in/"] }, ...more });
type Job = Awaited<ReturnType<typeof start>>;
const token = async (job: Job, of = seen) => (await api<Access>(of, `POST ${job.root}/token`, {}, job.token)).body;
const read = (root: Root | null | undefined, key: string) =>
  request(seen, `GET ${new URL(root?.rootUrl ?? "").pathname}${key}`);

describe("what a job's nodes read and write by", () => {
  it("is made anew by POST token: roots, credentials and environment, all counting from now", async () => {
    const job = await start({ outputPrefix: "runs/1/", expiresAt: Date.now() + 24 * HOUR });
    const first = await token(job);
    vi.setSystemTime(Date.now() + 2 * HOUR);
    const again = await token(job);
    for (const access of [first, again]) {
      expect(access.read?.scope).toEqual({ prefixes: ["in/"], keys: [] });
      expect(access.readOutputs?.scope).toEqual({ prefixes: ["runs/1/"], keys: [] });
      const { credentials, ...place } = access.direct;
      expect(place).toEqual({ endpoint: R2, bucket: "penstock-datasets", prefix: "reached/" });
      const now = Math.floor(Date.parse(access.serverTime) / 1000) * 1000;
      for (const set of [credentials.read, credentials.write]) {
        expect(set?.expiresAt).toMatch(ISO);
        expect(Date.parse(set?.expiresAt ?? "")).toBe(now + HOUR);
        expect(Date.parse(set?.refreshAfter ?? "")).toBe(now + 0.75 * HOUR);
      }
      expect(credentials.read?.prefixes).toEqual(["reached/in/"]);
      expect(credentials.write?.prefixes).toEqual(["reached/runs/1/"]);
    }
    expect(Date.parse(again.read?.expiresAt ?? "")).toBeLessThanOrEqual(job.spec.expiresAt);
    expect(again.direct.credentials.read?.sessionToken).not.toBe(first.direct.credentials.read?.sessionToken);
    const answer = await read(again.read, "in/a");
    expect([answer.status, await answer.text()]).toEqual([200, "input"]);
    expect((await read(again.read, "other/b")).status).toBe(403);
  });

  it.each([
    ["POST", "token", {}],
    ["GET", "bootstrap", undefined],
    ["POST", "urls", { method: "GET", keys: ["in/a"] }],
    ["POST", "checkpoint", {}],
    ["GET", "checkpoints", undefined],
    ["POST", "outputs", { outputs: [{ key: "runs/1/a", size: 3 }] }],
    ["POST", "outputs/commit", { outputs: [{ key: "runs/1/none" }] }],
  ])("keeps the job from being lost by being asked for: %s %s", async (method, route, body) => {
    const job = await start({ outputPrefix: "runs/1/", lostAfterSeconds: 300, expiresAt: Date.now() + 24 * HOUR });
    await job.job.heartbeat("node-0");
    for (let n = 0; n < 4; n++) {
      vi.setSystemTime(Date.now() + 290_000);
      const { status } = await request(seen, `${method} ${job.root}/${route}`, body, job.token);
      expect([n, status]).toEqual([n, route === "outputs/commit" ? 409 : 200]);
      expect((await api<{ state: string }>(seen, `GET ${job.root}`)).body.state).toBe("running");
    }
  });

  it("has no root where the input names globs alone", async () => {
    const access = await token(await start({ input: { globs: ["in/*"] } }));
    expect([access.read, access.readOutputs]).toEqual([null, undefined]);
    expect(access.direct.credentials).toMatchObject({ read: null, write: null, note: expect.stringMatching(/glob/) });
    expect(access.environment).not.toMatch(/ROOT_URL|AWS_/);
  });

  it("has no credentials where the endpoint is not R2's, and says why", async () => {
    const { direct, environment } = await token(await start(), elsewhere);
    expect(direct.credentials).toMatchObject({ read: null, write: null, note: expect.stringMatching(/R2_ENDPOINT/) });
    expect(environment).not.toMatch(/AWS_/);
  });

  it("is in the environment, and nothing of the parent's secret is in any of it", async () => {
    const job = await start({ outputPrefix: "runs/1/" });
    const { environment, read: root, readOutputs, direct, ...rest } = await token(job);
    const { read: reading, write } = direct.credentials;
    expect(environment.split("\n")).toEqual([
      "export PENSTOCK_URL='https://penstock.example'",
      `export PENSTOCK_JOB='${job.spec.id}'`,
      `export PENSTOCK_TOKEN='${job.token}'`,
      `export PENSTOCK_ROOT_URL='${root?.rootUrl}'`,
      `export PENSTOCK_OUTPUT_ROOT_URL='${readOutputs?.rootUrl}'`,
      "export PENSTOCK_BUCKET='penstock-datasets'",
      "export PENSTOCK_PREFIX='reached/'",
      `export AWS_ENDPOINT_URL_S3='${R2}'`,
      "export AWS_REGION='auto'",
      `export AWS_ACCESS_KEY_ID='${reading?.accessKeyId}'`,
      `export AWS_SECRET_ACCESS_KEY='${reading?.secretAccessKey}'`,
      `export AWS_SESSION_TOKEN='${reading?.sessionToken}'`,
      `export PENSTOCK_WRITE_ACCESS_KEY_ID='${write?.accessKeyId}'`,
      `export PENSTOCK_WRITE_SECRET_ACCESS_KEY='${write?.secretAccessKey}'`,
      `export PENSTOCK_WRITE_SESSION_TOKEN='${write?.sessionToken}'`,
    ]);
    const all = JSON.stringify([environment, root, readOutputs, direct, rest]);
    expect(all).not.toContain(String(Reflect.get(env, "R2_SECRET_ACCESS_KEY")));
  });
});

describe("the answer that creates a job", () => {
  it("has all of it, and the line that makes a machine a node", async () => {
    const asked = { name: "unet", dataset: "reached@1", input: { prefixes: ["in/"] }, outputPrefix: "runs/2/" };
    const { status, body } = await api<Access & { id: string; token: string; bootstrap: string }>(
      seen,
      "POST /v1/jobs",
      asked,
    );
    expect(status).toBe(201);
    expect(body.read?.scope).toEqual({ prefixes: ["in/"], keys: [] });
    expect(body.direct.credentials).toMatchObject({
      read: { keys: [] },
      write: { prefixes: ["reached/runs/2/"] },
      note: null,
    });
    expect(body.environment).toContain(`export PENSTOCK_TOKEN='${body.token}'`);
    const url = `https://penstock.example/v1/jobs/${body.id}/bootstrap`;
    // The token is on no command line: printf is the shell's own.
    const header = `header = "Authorization: Bearer ${body.token}"`;
    expect(body.bootstrap).toBe(`printf '%s\\n' '${header}' | curl -fsS -K - '${url}' | sh`);
  });
});

describe("the bootstrap of a job", () => {
  it("is a script that nobody keeps, and the token stands in it once: in the lines of the environment", async () => {
    const job = await start();
    const answer = await request(seen, `GET ${job.root}/bootstrap`, undefined, job.token);
    expect(answer.headers.get("content-type")).toMatch(/^text\/x-shellscript/);
    expect(answer.headers.get("cache-control")).toBe("no-store");
    const script = await answer.text();
    expect(script).toMatch(/^#!\/bin\/sh\n/);
    expect(script.split(job.token)).toHaveLength(2);
  });
});

describe("a job that is cancelled", () => {
  it("says by when its capability is dead everywhere, and until when R2's credentials live", async () => {
    const job = await start({ expiresAt: Date.now() + 24 * HOUR });
    const now = Date.now();
    const { body } = await api(seen, `POST ${job.root}/cancel`, undefined, ADMIN);
    expect(body).toMatchObject({ id: job.spec.id, state: "cancelled", note: expect.stringMatching(/presigned/) });
    expect(Date.parse(String(body["revokedBy"]))).toBe(now + 60_000);
    expect(Date.parse(String(body["credentialsExpireAt"]))).toBe(now + HOUR);
  });

  it("has no credentials to wait for where none can be minted", async () => {
    const job = await start();
    const { body } = await api(elsewhere, `POST ${job.root}/cancel`, undefined, ADMIN);
    expect(body["credentialsExpireAt"]).toBeNull();
  });

  it.each([
    ["POST", "token"],
    ["GET", "bootstrap"],
  ])("answers no %s %s any more, at once", async (method, route) => {
    const job = await start();
    const ask = async () => {
      const answer = await request(
        seen,
        `${method} ${job.root}/${route}`,
        method === "POST" ? {} : undefined,
        job.token,
      );
      return [answer.status, method === "GET" && answer.ok ? null : (await answer.json<{ code?: string }>()).code];
    };
    expect((await ask())[0]).toBe(200);
    await api(seen, `POST ${job.root}/cancel`, undefined, ADMIN);
    expect(await ask()).toEqual([409, "job-ended"]);
  });
});

describe("who is not a node of the job", () => {
  it.each([
    ["POST", "token"],
    ["GET", "bootstrap"],
  ])("gets nothing of %s %s: another job's token, an API token, none, or an unknown field", async (method, route) => {
    const [job, other] = [await start(), await start()];
    const ask = (holder: string, suffix = "", body: object | undefined = method === "POST" ? {} : undefined) =>
      request(seen, `${method} ${job.root}/${route}${suffix}`, body, holder);
    expect((await ask(other.token)).status).toBe(403);
    expect((await ask(ADMIN)).status).toBe(401);
    expect((await ask("")).status).toBe(401);
    const odd = method === "POST" ? await ask(job.token, "", { ttl: 1 }) : await ask(job.token, "?ttl=1");
    expect([odd.status, await odd.json()]).toEqual([400, expect.objectContaining({ field: "ttl" })]);
  });
});
