import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Client, createClient, followMigration } from "../harness/client.ts";
import { type Instance, sleep } from "../harness/instance.ts";
import { fillSource, type Source, startLocalSource } from "../harness/local-source.ts";
import { type InstanceSecrets, startFreshInstance } from "./fresh-instance.ts";
import { send } from "./raw-http.ts";

/** Everything that was minted or is secret, under the name it has in a report of this test. */
const secrets = new Map<string, string>();
let source: Source & { stop(): Promise<void> };
let broken: Source;
let instance: Instance & { secrets: InstanceSecrets };

beforeAll(async () => {
  source = await startLocalSource();
  broken = { ...source, secretAccessKey: randomBytes(20).toString("hex") };
  const bytes = Uint8Array.from(randomBytes(100));
  await fillSource(source, [{ key: "in/0", bytes, contentType: "application/octet-stream" }]);
  instance = await startFreshInstance({ name: "e2e-secrets-in-logs", sources: { local: source, broken } });
});

afterAll(async () => {
  await instance?.stop();
  await source?.stop();
});

interface Minted {
  id: string;
  token: string;
  read: { rootUrl: string; capability: string };
  readOutputs: { capability: string };
}
interface Urls {
  urls: { url: string; headers: Record<string, string> }[];
}

/** The main job, with every kind of token and URL minted and used. */
async function journey(): Promise<void> {
  const { tokens, url, secrets: kept } = instance;
  for (const [role, token] of Object.entries(tokens)) secrets.set(`the ${role} token`, token);
  for (const entry of kept.masterKeys.split(",")) secrets.set("the master key", entry.split(":")[1] ?? "");
  secrets.set("R2's secret access key", kept.r2.secretAccessKey);
  secrets.set("the source's secret access key", source.secretAccessKey);
  secrets.set("the broken source's secret access key", broken.secretAccessKey);

  const admin = createClient(url, tokens.admin);
  for (const name of ["local", "broken"]) {
    await admin.call("POST", `/v1/sources/${name}/check`);
    const body = { kind: "files", prefix: `${name}/`, source: { name, prefix: "" } };
    await admin.call("PUT", `/v1/datasets/${name}`, body);
    const { id } = await admin.call<{ id: string }>("POST", "/v1/migrations", { dataset: name });
    await followMigration(admin, id);
  }
  await instance.cron(Date.now());

  const scope = { prefixes: ["in/"] };
  const minted = await admin.call<{ capability: string }>("POST", "/v1/datasets/local/capabilities", scope);
  secrets.set("the capability", minted.capability);
  const body = { name: "j", dataset: "local", input: scope, outputPrefix: "out/" };
  const job = await admin.call<Minted>("POST", "/v1/jobs", body);
  secrets.set("the job token", job.token);
  secrets.set("the job's capability", job.read.capability);
  secrets.set("the job's capability for its outputs", job.readOutputs.capability);
  const node = createClient(url, job.token);
  await node.call("POST", `/v1/jobs/${job.id}/heartbeat`, { node: "n" });
  const asked = [
    { method: "GET", keys: ["in/0"] },
    { method: "GET", via: "edge", keys: ["in/0"] },
    { method: "PUT", objects: [{ key: "out/0", size: 3 }] },
  ];
  for (const request of asked) {
    const { urls } = await node.call<Urls>("POST", `/v1/jobs/${job.id}/urls`, request);
    for (const { url: signed, headers } of urls) {
      const signature = /X-Amz-Signature=([0-9a-f]{64})/.exec(signed)?.[1];
      const capability = /\/t\/([^/]+)\//.exec(signed)?.[1];
      secrets.set(`a ${request.method} URL, ${request.via ?? "r2"}`, signature ?? capability ?? "");
      const isPut = request.method === "PUT";
      await send(signed, { method: request.method, headers, ...(isPut ? { body: "abc" } : {}) });
    }
  }
  await work(job, node);
  await node.call("POST", `/v1/jobs/${job.id}/finish`, {});
}

/** What a node does by leases, with outputs and events: each with secrets of its own. */
async function work(job: Minted, node: Client): Promise<void> {
  const root = `/v1/jobs/${job.id}`;
  const bearer = { authorization: `Bearer ${job.token}` };
  const signatureOf = (url: string) => /X-Amz-Signature=([0-9a-f]{64})/.exec(url)?.[1] ?? "";
  const refreshed = await node.call<Minted>("POST", `${root}/token`, {});
  secrets.set("the job's capability, made anew", refreshed.read.capability);
  await send(`${instance.url}${root}/bootstrap`, { headers: bearer });
  const lease = { node: "n", request: "r", count: 8 };
  const { leases } = await node.call<{
    leases: { lease: string; parts: { url: string; headers: Record<string, string> }[] }[];
  }>("POST", `${root}/leases`, lease);
  const [part] = leases.flatMap(({ parts }) => parts);
  secrets.set("a lease's URL", signatureOf(part?.url ?? ""));
  await send(part?.url ?? "", { headers: part?.headers ?? {} });
  const size = 6 * 1024 * 1024;
  const announced = { outputs: [{ key: "out/parts", size, multipart: true }] };
  const { outputs } = await node.call<{ outputs: { parts: { url: string }[] }[] }>(
    "POST",
    `${root}/outputs`,
    announced,
  );
  const url = outputs[0]?.parts[0]?.url ?? "";
  secrets.set("a part's URL", signatureOf(url));
  secrets.set("an upload's id", new URL(url).searchParams.get("uploadId") ?? "");
  await node.call("POST", `${root}/outputs/abort`, { keys: ["out/parts"] });
  const saved = { outputs: [{ key: "out/saved", size: 3 }], checkpoint: "one" };
  const put = await node.call<{ outputs: { url: string; headers: Record<string, string> }[] }>(
    "POST",
    `${root}/outputs`,
    saved,
  );
  await send(put.outputs[0]?.url ?? "", { method: "PUT", headers: put.outputs[0]?.headers ?? {}, body: "abc" });
  await node.call("POST", `${root}/outputs/commit`, { checkpoint: "one" });
  const latest = await node.call<{ outputs: { url: string }[] }>("GET", `${root}/checkpoints/latest`);
  secrets.set("a checkpoint's URL", signatureOf(latest.outputs[0]?.url ?? ""));
  const gone = new AbortController();
  const events = await fetch(`${instance.url}${root}/events`, { headers: bearer, signal: gone.signal });
  await events.body?.getReader().read();
  gone.abort();
  // The units go back, so that the job may finish.
  await node.call("POST", `${root}/acks`, {
    node: "n",
    acks: leases.map(({ lease: ticket }) => ({ lease: ticket, outcome: "done" })),
  });
}

/** Everything again where it does not belong: in headers, paths, queries and bodies of every kind of route. */
async function misuse(): Promise<void> {
  const { url, tokens } = instance;
  for (const secret of secrets.values()) {
    const quoted = encodeURIComponent(secret);
    const bearer = { authorization: `Bearer ${secret}` };
    const json = { "content-type": "application/json" };
    const admin = { authorization: `Bearer ${tokens.admin}`, ...json };
    await send(`${url}/v1/datasets`, { headers: bearer });
    await send(`${url}/v1/datasets`, { headers: { authorization: secret } });
    await send(`${url}/v1/jobs/job_0/heartbeat`, { method: "POST", headers: { ...bearer, ...json }, body: "{" });
    await send(`${url}/v1/datasets?token=${quoted}&cursor=${quoted}`, { headers: admin });
    await send(`${url}/v1/datasets/local`, { method: "PUT", headers: admin, body: `{"kind":"${secret}"}` });
    await send(`${url}/v1/datasets/local`, { method: "PUT", headers: admin, body: secret });
    await send(`${url}/d/local/in/0?token=${quoted}`);
    await send(`${url}/d/local/in/0`, { headers: { cookie: `token=${secret}`, referer: `${url}/t/${secret}/` } });
    await send(`${url}/t/${secret}/local/in/0`);
    await send(`${url}/t/${quoted}/nowhere@7/in/0`);
    await send(`${url}/t/${secret}/local/a//b`, { method: "HEAD" });
    await send(`${url}/t/${secret}`, { method: "POST", body: secret });
    // A key, an API token or a signature has no place in a path, and no look of its own; our JWTs have one.
    if (!secret.startsWith("eyJ")) continue;
    for (const path of [`/t//${secret}/local/in/0`, `//t/${secret}/local/in/0`, `/T/${secret}/local/in/0`]) {
      await send(`${url}${path}`);
    }
    for (const path of [`/d/${secret}/in/0`, `/d/local/${secret}`, `/v1/jobs/${secret}`, `/v1/datasets/${secret}`]) {
      await send(`${url}${path}`, { headers: admin });
    }
  }
}

it("finds no token, signature, key or claim in anything that the Worker logs", async () => {
  await journey();
  await misuse();
  await sleep(500); // Until what was printed has arrived.

  // The named exception: wrangler's own line about a request, which is there in development only.
  const lines = instance.logs().split("\n");
  const ours = lines.filter((line) => !line.startsWith("[wrangler:")).join("\n");
  expect(ours.match(/"requestId"/g)?.length).toBeGreaterThan(12 * secrets.size);
  expect(ours).toContain('"path":"/t/…/local/in/0"');

  expect([...secrets.keys()]).toHaveLength(19);
  for (const [name, secret] of secrets) {
    expect(secret.length, name).toBeGreaterThan(20);
    const [, claims = secret, signature = secret] = secret.split(".");
    const forms = [secret, encodeURIComponent(secret), claims, signature, Buffer.from(claims, "base64url").toString()];
    for (const form of forms) expect(ours.includes(form), `${name} was logged`).toBe(false);
  }
});

it("would have found one: wrangler's own lines hold the path capability", () => {
  const exempt = instance
    .logs()
    .split("\n")
    .filter((line) => line.startsWith("[wrangler:"));
  expect(exempt.join("\n")).toContain(secrets.get("the capability"));
});
