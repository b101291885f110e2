import { runDurableObjectAlarm } from "cloudflare:test";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { WatchSummary } from "../../durable-objects/gpu-job/summary.ts";
import { newId } from "../../workers/adapters/ids.ts";
import { ADMIN, api, apiTokens, LIMITED, READER, request } from "./harness/api.ts";
import { must } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { pass, tokenOf, watchedJob } from "./harness/watched.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens("other"));
});
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** The second between two looks goes by at once. */
const hurry = () => vi.spyOn(scheduler, "wait").mockImplementation(() => Promise.resolve());

interface Said {
  event: string;
  id: string | null;
  data: WatchSummary;
}

/** Reads events one by one: blocks of lines, and a blank line after each. A comment is a text. */
function reading(response: Response) {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let heard = "";
  return {
    async next(): Promise<Said | string | null> {
      for (;;) {
        const end = heard.indexOf("\n\n");
        if (end >= 0) {
          const block = heard.slice(0, end);
          heard = heard.slice(end + 2);
          const fields = /^event: (.+)\n(?:id: (.+)\n)?data: (.+)$/.exec(block);
          if (fields === null) return block;
          return { event: fields[1] ?? "", id: fields[2] ?? null, data: JSON.parse(fields[3] ?? "") as WatchSummary };
        }
        const { done, value } = await reader.read();
        if (done) return heard === "" ? null : Promise.reject(new Error(`Cut off: ${heard}`));
        heard += decoder.decode(value, { stream: true });
      }
    },
    cancel: () => reader.cancel(),
  };
}
const path = (id: string) => `GET /v1/jobs/${id}/events`;

describe("GET /v1/jobs/:id/events", () => {
  it("says how the job stands at once and on every change, then how it ended, and closes", async () => {
    hurry();
    const { id, job } = await watchedJob();
    const response = await request(seen, path(id), undefined, READER);
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
    const events = reading(response);
    expect(await events.next()).toBe("retry: 2000");
    expect(await events.next()).toMatchObject({ event: "status", id: null, data: { id, state: "pending" } });
    await job.heartbeat("node-0", { loss: 0.5 });
    expect(await events.next()).toMatchObject({
      event: "status",
      data: { state: "running", loss: 0.5, nodes: { heard: 1, silent: 0, listed: [{ name: "node-0" }] } },
    });
    await job.cancel();
    const last = await events.next();
    expect(last).toMatchObject({ event: "status", data: { state: "cancelled" } });
    expect(await events.next()).toEqual({ ...(last as Said), event: "end", id: "end" });
    expect(await events.next()).toBeNull();
  });

  it("says nothing where nothing has changed, but that it is there", async () => {
    const waits = hurry();
    const { id } = await watchedJob();
    const events = reading(await request(seen, path(id)));
    await events.next();
    await events.next();
    expect(await events.next()).toBe(": nothing new");
    expect(waits).toHaveBeenCalledTimes(15);
    await events.cancel();
  });

  it("tells that a node has fallen silent, which nobody said", async () => {
    hurry();
    const { id, job } = await watchedJob({ heartbeatTimeoutSeconds: 90, lostAfterSeconds: 900 });
    await job.heartbeat("node-0");
    const events = reading(await request(seen, path(id)));
    await events.next();
    expect(await events.next()).toMatchObject({ data: { nodes: { silent: 0 } } });
    pass(90_000);
    expect(await events.next()).toMatchObject({ data: { state: "running", nodes: { silent: 1 } } });
    pass(810_000);
    await runDurableObjectAlarm(job);
    expect(await events.next()).toMatchObject({ event: "status", data: { state: "lost" } });
    expect(await events.next()).toMatchObject({ event: "end" });
  });

  it("of a job that has ended says so at once, and to who comes back after that, nothing", async () => {
    hurry();
    const { id, job } = await watchedJob();
    await job.cancel();
    const events = reading(await request(seen, path(id)));
    await events.next();
    expect(await events.next()).toMatchObject({ event: "status", data: { state: "cancelled" } });
    expect(await events.next()).toMatchObject({ event: "end", id: "end", data: { state: "cancelled" } });
    expect(await events.next()).toBeNull();
    const again = await request(seen, path(id), undefined, ADMIN, { "last-event-id": "end" });
    expect([again.status, again.body]).toEqual([204, null]);
  });

  it("asks nothing more once its reader has gone", async () => {
    const { id, job } = await watchedJob();
    const events = reading(await request(seen, path(id)));
    await events.next();
    await events.next();
    const waiting = Promise.withResolvers<AbortSignal | undefined>();
    vi.spyOn(scheduler, "wait").mockImplementation((_, { signal } = {}) => {
      waiting.resolve(signal);
      return new Promise((__, gone) => signal?.addEventListener("abort", () => gone(signal.reason as Error)));
    });
    const next = events.next();
    const signal = await waiting.promise;
    await events.cancel();
    expect(signal?.aborted).toBe(true);
    expect(await next).toBeNull();
    must(await job.watch());
  });

  it("is for the job's own token and for readers of its dataset, and for nobody else", async () => {
    hurry();
    const { id, job, spec } = await watchedJob();
    const other = await watchedJob();
    const code = async (token: string, of = id) => {
      const response = await request(seen, path(of), undefined, token);
      if (response.status === 200) {
        await response.body?.cancel();
        return 200;
      }
      const { code: why } = await response.json<{ code: string }>();
      return [response.status, why];
    };
    const own = await tokenOf(spec);
    expect(await code(own)).toBe(200);
    expect(await code(READER)).toBe(200);
    expect(await code(LIMITED)).toEqual([403, "out-of-scope"]);
    expect(await code(await tokenOf(other.spec))).toEqual([403, "out-of-scope"]);
    expect(await code("nobody")).toEqual([401, "invalid-token"]);
    expect(await code(`${own.slice(0, -4)}AAAA`)).toEqual([401, "invalid-token"]);
    expect(await code(READER, newId("job", Date.now()))).toEqual([404, "unknown-job"]);
    expect(await code(READER, "job_0")).toEqual([404, "unknown-job"]);
    // Its end revokes the token: within a minute, in which nodes hear of it.
    await job.cancel();
    expect(await code(own)).toBe(200);
    pass(60_000);
    expect(await code(own)).toEqual([403, "revoked-token"]);
    expect(await code(READER)).toBe(200);
  });

  it("needs a token", async () => {
    const { id } = await watchedJob();
    const { default: worker } = await import("../../workers/index.ts");
    const { createExecutionContext } = await import("cloudflare:test");
    const sent = new Request<unknown, IncomingRequestCfProperties>(`https://penstock.example/v1/jobs/${id}/events`);
    const response = await worker.fetch(sent, seen, createExecutionContext());
    expect([response.status, (await response.json<{ code: string }>()).code]).toEqual([401, "missing-token"]);
    expect((await api(seen, "GET /v1/jobs/x/events")).status).toBe(404);
  });
});
