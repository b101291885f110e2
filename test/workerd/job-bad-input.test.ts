import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { api, apiTokens, request } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";
import { must } from "./harness/run.ts";
import { startJob } from "./harness/node.ts";

let seen: Env;
let dataset: { datasetId: string; datasetName: string; prefix: string };
beforeAll(async () => {
  const account = "https://023e105f4ecef8ad9ca31a8372d0c353.r2.cloudflarestorage.com";
  seen = { ...env, ...(await apiTokens()), R2_ENDPOINT: account } as unknown as Env;
  const { id, seal } = await fillDataset(seen, "odd", "files", { "in/a": "input" });
  await seal();
  dataset = { datasetId: id, datasetName: "odd", prefix: "odd/" };
});
afterEach(() => void vi.restoreAllMocks());

const start = () => startJob(seen, { ...dataset, input: { prefixes: ["in/"] }, outputPrefix: "out/" });

describe("what nodes send", () => {
  it("has no name that a record would drop in silence", async () => {
    const { root, token } = await start();
    const beat = JSON.parse('{"node":"n","metrics":{"__proto__":7}}') as object;
    expect(await api(seen, `POST ${root}/heartbeat`, beat, token)).toMatchObject({
      status: 400,
      body: { code: "invalid-body", field: "metrics.__proto__" },
    });
    const labels = JSON.parse('{"__proto__":"x"}') as object;
    const job = { name: "j", dataset: "odd@1", input: { prefixes: ["in/"] }, labels };
    expect(await api(seen, "POST /v1/jobs", job)).toMatchObject({ status: 400, body: { field: "labels.__proto__" } });
    const keys = { method: "GET", keys: ["in/__proto__"] };
    expect((await api(seen, `POST ${root}/urls`, keys, token)).status).toBe(200);
  });

  it("is refused before it is parsed where it would be far more in memory than its bytes", async () => {
    const { root, token } = await start();
    const crowded = { outputs: Array.from({ length: 300_000 }, () => ({})) };
    const parse = vi.spyOn(JSON, "parse");
    const answer = await request(seen, `POST ${root}/outputs/commit`, crowded, token);
    expect(answer.status).toBe(413);
    expect(parse.mock.calls.some(([text]) => text.length > 100_000)).toBe(false);
    // Commas in a text are no values.
    const keys = { method: "GET", keys: Array.from({ length: 300 }, (_, n) => `in/${",".repeat(1000)}${n}`) };
    expect((await api(seen, `POST ${root}/urls`, keys, token)).status).toBe(200);
  });

  it("is not all said back where a field's name is as long as a request", async () => {
    const { root, token } = await start();
    const name = "x".repeat(1_000_000);
    for (const [route, body] of [
      ["urls", { method: "GET", keys: ["in/a"], [name]: 1 }],
      ["heartbeat", { node: "n", metrics: { [name.slice(0, 50_000)]: 1 } }],
    ] as const) {
      const answer = await request(seen, `POST ${root}/${route}`, body, token);
      const problem = await answer.text();
      expect([answer.status, problem.length < 1000]).toEqual([400, true]);
    }
  });

  it("may be ten thousand keys, and five thousand outputs, and not one more", async () => {
    const { root, token } = await start();
    const objects = Array.from({ length: 5001 }, (_, n) => ({ key: `out/${n}`, size: 1 }));
    const refused = await api(seen, `POST ${root}/urls`, { method: "PUT", objects }, token);
    expect(refused).toMatchObject({ status: 400, body: { code: "invalid-body", field: "objects" } });
  });
});

describe("a cancel", () => {
  it("is answered again as it was, after a lost answer; of a job that ended otherwise it is refused", async () => {
    const { root, job } = await start();
    const first = await api(seen, `POST ${root}/cancel`);
    expect(first).toMatchObject({ status: 200, body: { state: "cancelled" } });
    expect((await api(seen, `POST ${root}/cancel`)).body).toEqual(first.body);
    expect((await job.status()).ok).toBe(true);
    const other = await start();
    const { attempt } = must(await other.job.beginFinish("done"));
    must(await other.job.finish("done", [], attempt));
    expect(await api(seen, `POST ${other.root}/cancel`)).toMatchObject({ status: 409, body: { code: "job-ended" } });
  });
});

describe("the log", () => {
  it("has no session token that somebody has put into a path", async () => {
    const { root, token } = await start();
    const made = await api<{ direct: { credentials: { read: { sessionToken: string } } } }>(
      seen,
      `POST ${root}/token`,
      {},
      token,
    );
    const { sessionToken } = made.body.direct.credentials.read;
    const logged: string[] = [];
    vi.spyOn(console, "log").mockImplementation((line: string) => void logged.push(line));
    await request(seen, `GET /v1/jobs/${sessionToken}`);
    await request(seen, `GET /v1/jobs/${encodeURIComponent(sessionToken)}`);
    expect(logged.length).toBeGreaterThan(1);
    for (const line of logged) expect(line).not.toContain(sessionToken.slice(8, 40));
  });
});
