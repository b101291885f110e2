/** A machine with sh and curl becomes a node by the line that the job's answer has, and works by what that installed. */
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type Client, createClient, followMigration, type Migration } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { fillSource, type Source, startLocalSource } from "../harness/local-source.ts";
import { startFreshInstance } from "./fresh-instance.ts";

const bytes = Uint8Array.from(randomBytes(10_000));
const md5 = (content: Uint8Array) => createHash("md5").update(content).digest("hex");

interface Job {
  id: string;
  token: string;
  bootstrap: string;
  environment: string;
  read: { rootUrl: string };
}

let source: Source & { stop(): Promise<void> };
let instance: Instance;
let admin: Client;
let job: Job;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "penstock-node-"));
  source = await startLocalSource();
  await fillSource(source, [{ key: "in/a b.bin", bytes, contentType: "application/octet-stream" }]);
  instance = await startFreshInstance({ name: "e2e-job-bootstrap", sources: { local: source } });
  admin = createClient(instance.url, instance.tokens.admin);
  await admin.call("PUT", "/v1/datasets/small", {
    kind: "files",
    prefix: "small/",
    source: { name: "local", prefix: "" },
  });
  const { id } = await admin.call<Migration>("POST", "/v1/migrations", { dataset: "small" });
  expect(await followMigration(admin, id)).toMatchObject({ state: "done", copied: { objects: 1 } });
  await admin.call("POST", "/v1/datasets/small/versions", {});
  await vi.waitFor(
    async () => expect(await admin.call("GET", "/v1/datasets/small/versions/1")).toMatchObject({ state: "sealed" }),
    { timeout: 240_000, interval: 200 },
  );
  const asked = { name: "unet", dataset: "small@1", input: { prefixes: ["in/"] }, outputPrefix: "out/" };
  job = await createClient(instance.url, instance.tokens.submit).call<Job>("POST", "/v1/jobs", asked);
});

afterAll(async () => {
  await instance?.stop();
  await source?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a line in the node's folder, and answers when it has ended. Only this process is held up: the Worker is another. */
const sh = (line: string, input = "") => {
  const { PATH = "", HOME = "" } = process.env;
  const options = { cwd: folder, encoding: "utf8", env: { PATH, HOME }, input, maxBuffer: 64 * 1024 * 1024 } as const;
  const ran = spawnSync("sh", ["-c", line], options);
  return { status: ran.status, out: ran.stdout, error: ran.stderr };
};
const json = (text: string) => JSON.parse(text) as Record<string, unknown>;
const secrets = () => [
  job.token,
  ...job.environment
    .split("\n")
    .flatMap((line) => (/(URL|BUCKET|PREFIX|JOB|REGION)=/.test(line) ? [] : line.split("'")[1])),
  job.read.rootUrl.split("/")[4] ?? "",
];

describe("a node with sh and curl alone", () => {
  it("is made by one line, which prints nothing secret, and is heard at once", async () => {
    const { status, out, error } = sh(`PENSTOCK_NODE=Box_1 ; export PENSTOCK_NODE; ${job.bootstrap}`);
    expect([status, error]).toEqual([0, ""]);
    expect(out).toContain(`a node of ${job.id}`);
    expect(secrets().length).toBeGreaterThan(1);
    for (const secret of secrets()) expect(out).not.toContain(secret);
    expect(readdirSync(folder)).toEqual(["penstock-job"]);
    expect(statSync(join(folder, "penstock-job/env")).mode & 0o777).toBe(0o600);
    const { state, nodes } = await admin.call<{ state: string; nodes: { name: string }[] }>(
      "GET",
      `/v1/jobs/${job.id}`,
    );
    expect([state, nodes.map(({ name }) => name)]).toEqual(["running", ["box-1"]]);
  });

  it("reads through the root URL of its environment", () => {
    const { status, out } = sh(`. ./penstock-job/env; curl -fsS "$PENSTOCK_ROOT_URL"in/a%20b.bin | md5sum`);
    expect([status, out.slice(0, 32)]).toEqual([0, md5(bytes)]);
  });

  it("is heard again, asks for URLs, and has JSON from its argument or from stdin", () => {
    expect(json(sh("./penstock-job/penstock heartbeat").out)).toMatchObject({ id: job.id, state: "running" });
    const asked = JSON.stringify({ method: "GET", keys: ["in/a b.bin"] });
    const byArgument = json(sh(`./penstock-job/penstock urls '${asked}'`).out);
    const byStdin = json(sh("./penstock-job/penstock urls -", asked).out);
    for (const { urls } of [byArgument, byStdin]) {
      expect(urls).toMatchObject([{ key: "in/a b.bin", etag: md5(bytes), size: bytes.length }]);
    }
    const [signed] = byStdin["urls"] as { url: string; headers: Record<string, string> }[];
    const headers = Object.entries(signed?.headers ?? {}).map(([name, value]) => `-H '${name}: ${value}'`);
    const read = sh(`curl -fsS ${headers.join(" ")} '${signed?.url}' | md5sum`);
    expect(read.out.slice(0, 32)).toBe(md5(bytes));
  });

  it("takes more keys than an argument may be long from stdin", () => {
    const keys = Array.from({ length: 10_000 }, (_, n) => `in/${"x".repeat(100)}/${n}`);
    const { status, out } = sh("./penstock-job/penstock urls -", JSON.stringify({ method: "GET", keys }));
    expect([status, (json(out)["urls"] as unknown[]).length]).toEqual([0, 10_000]);
  });

  it("is told of a refusal on stderr, by an exit code of its own, and keeps no answer in its folder", () => {
    const { status, out, error } = sh(`./penstock-job/penstock urls '{"method":"GET","keys":["beside"]}'`);
    expect([status, out, json(error)["code"]]).toEqual([22, "", "out-of-scope"]);
    expect(sh("./penstock-job/penstock nonsense").status).toBe(2);
    expect(sh("./penstock-job/penstock urls").status).not.toBe(0);
    expect(readdirSync(join(folder, "penstock-job")).toSorted()).toEqual(["env", "penstock"]);
  });

  it("asks for its access anew, and becomes a node anew by the same line", () => {
    expect(json(sh("./penstock-job/penstock token").out)["read"]).toMatchObject({ scope: { prefixes: ["in/"] } });
    expect(sh(job.bootstrap).status).toBe(0);
  });

  it("is none any more once the job is cancelled: the line makes nothing, and commands are refused", async () => {
    await admin.call("POST", `/v1/jobs/${job.id}/cancel`);
    const heard = sh("./penstock-job/penstock heartbeat");
    expect([heard.status, json(heard.error)["code"]]).toEqual([22, "job-ended"]);
    const { out, error } = sh(job.bootstrap);
    expect(out).toBe("");
    expect(error).toMatch(/409/);
  });
});
