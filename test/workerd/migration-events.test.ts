import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { Migration } from "../../durable-objects/migration/migration.ts";
import { migrationOf } from "../../workers/adapters/objects.ts";
import type { MigrationStatus } from "../../workers/core/migration/status.ts";
import { ADMIN, apiTokens, request } from "./harness/api.ts";
import { carry, deliver } from "./harness/delivery.ts";
import { around } from "./harness/interrupted.ts";
import { must, registerDataset, startRun, type TestRun } from "./harness/run.ts";
import { envWith, fill, text } from "./harness/source.ts";

interface Said {
  event: string;
  id: string;
  status: MigrationStatus;
}

let seen: Env;
const asked = vi.fn<() => void>();

/** The Worker's environment in which each question for a run's status is counted, and may fail. */
function asking(more: Record<string, unknown>): Env {
  const getByName = (name: string) =>
    new Proxy(env.MIGRATION.getByName(name), {
      get(stub, property) {
        if (property === "status") asked();
        return Reflect.get(stub, property) as unknown;
      },
    });
  return { ...envWith("plain", more), MIGRATION: { getByName } as unknown as DurableObjectNamespace<Migration> };
}

beforeAll(async () => {
  seen = asking(await apiTokens());
  await fill("events/", new Map(["a", "b"].map((key) => [key, text(key)])));
  await registerDataset("events", "events/");
});

afterEach(() => asked.mockReset());

const listen = (run: TestRun) => request(seen, `GET /v1/migrations/${run.id}/events`);

/** Reads events one by one, as the specification has them: blocks of lines, and a blank line after each. */
function reading(response: Response): { next(): Promise<Said | string | null>; cancel(): Promise<void> } {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let heard = "";
  return {
    async next() {
      for (;;) {
        const end = heard.indexOf("\n\n");
        if (end >= 0) {
          const block = heard.slice(0, end);
          heard = heard.slice(end + 2);
          const fields = /^event: (.+)\nid: (.+)\ndata: (.+)$/.exec(block);
          if (fields === null) return block;
          const [, event = "", id = "", data = ""] = fields;
          return { event, id, status: JSON.parse(data) as MigrationStatus };
        }
        const { done, value } = await reader.read();
        if (done) return heard === "" ? null : Promise.reject(new Error(`Cut off: ${heard}`));
        heard += decoder.decode(value, { stream: true });
      }
    },
    cancel: () => reader.cancel(),
  };
}

describe("GET /v1/migrations/:id/events", () => {
  it("says the status at once and on every change, then how it ended, and closes", async () => {
    const run = await startRun("events", seen);
    const response = await listen(run);
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      ...{ "content-type": "text/event-stream", "cache-control": "no-store, no-transform" },
    });
    const events = reading(response);
    expect(await events.next()).toBe("retry: 2000");
    const first = (await events.next()) as Said;
    expect(first).toMatchObject({ event: "status", id: first.status.updatedAt, status: { state: "listing" } });
    await carry(run);
    const said: Said[] = [];
    for (let next = await events.next(); next !== null; next = await events.next()) said.push(next as Said);
    expect(said.map(({ event }) => event)).toEqual([...said.slice(1).map(() => "status"), "end"]);
    const last = said.at(-1);
    expect(last).toMatchObject({ event: "end", id: "end", status: { state: "done", copied: { objects: 2 } } });
    expect(last?.status).toEqual(said.at(-2)?.status);
  });

  it("of a run that has ended says so at once, and to who comes back after that, nothing", async () => {
    const run = await startRun("events", seen);
    await carry(run);
    const events = reading(await listen(run));
    expect(await events.next()).toBe("retry: 2000");
    expect(await events.next()).toMatchObject({ event: "status", status: { state: "done" } });
    expect(await events.next()).toMatchObject({ event: "end", status: { state: "done" } });
    expect(await events.next()).toBeNull();
    const headers = { "last-event-id": "end" };
    const again = await request(seen, `GET /v1/migrations/${run.id}/events`, undefined, ADMIN, headers);
    expect([again.status, again.body]).toEqual([204, null]);
  });

  it("of a run that was cancelled ends once what its consumers had begun is settled, and with that in its counts", async () => {
    await registerDataset("events-late", "events/");
    const run = await startRun("events-late", seen);
    const events = reading(await listen(run));
    await events.next();
    const said: Said[] = [(await events.next()) as Said];
    await carry(run, {
      hand: (letter, at) => {
        if (letter.body.type !== "copy") return deliver(letter, at);
        const before = async () => {
          must(await migrationOf(env, run.id).cancel());
          while (said.at(-1)?.status.state !== "cancelled") said.push((await events.next()) as Said);
        };
        return deliver(letter, around(at, "settleBatch", { before }));
      },
    });
    expect(said.at(-1)).toMatchObject({ event: "status", status: { copied: { objects: 0 } } });
    for (let next = await events.next(); next !== null; next = await events.next()) said.push(next as Said);
    expect(said.filter(({ event }) => event === "end")).toHaveLength(1);
    expect(said.at(-1)).toMatchObject({ event: "end", status: { state: "cancelled", copied: { objects: 2 } } });
  });

  it("asks nothing ahead of its reader, and nothing more once that has gone", async () => {
    const run = await startRun("events", seen);
    const events = reading(await listen(run));
    await events.next();
    await events.next();
    const before = asked.mock.calls.length;
    const breathe = scheduler.wait.bind(scheduler, 50);
    // The second between two looks is over when the test says so, or when its reader has gone.
    let isOver: () => void = () => undefined;
    const second = vi.spyOn(scheduler, "wait").mockImplementation(
      (_, { signal } = {}) =>
        new Promise((over, gone) => {
          isOver = over;
          signal?.addEventListener("abort", () => gone(signal.reason as Error));
        }),
    );
    await breathe();
    expect(second).not.toHaveBeenCalled();
    const next = events.next();
    while (second.mock.calls.length === 0) await breathe();
    await events.cancel();
    isOver();
    expect(await next).toBeNull();
    await breathe();
    second.mockRestore();
    expect(asked).toHaveBeenCalledTimes(before);
    await carry(run);
  });

  it("ends without an end where the run cannot be asked: the client comes back", async () => {
    const run = await startRun("events", seen);
    const events = reading(await listen(run));
    await events.next();
    await events.next();
    asked.mockImplementation(() => {
      throw new Error("Durable Object reset because its code was updated.");
    });
    expect(await events.next()).toBeNull();
    asked.mockReset();
    await carry(run);
  });
});
