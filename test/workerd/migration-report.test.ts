import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { migrationOf } from "../../workers/adapters/objects.ts";
import type { ReportLine } from "../../workers/core/migration/report-line.ts";
import { runFolder } from "../../workers/core/migration/request.ts";
import { api, apiTokens, READER, request } from "./harness/api.ts";
import { carry, deliver } from "./harness/delivery.ts";
import { around } from "./harness/interrupted.ts";
import { must, registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { bytesOf, envWith, fill, PART_BYTES, text } from "./harness/source.ts";

const KEYS = ["a", "b", 'c/é "line" \\n', "d"];
let seen: Env;
let run: TestRun;

beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
  const objects = new Map([...KEYS.map((key) => [key, text(key)] as const), ["large", bytesOf(PART_BYTES + 1, 1)]]);
  await fill("report/", objects);
  await registerDataset("report", "report/");
  run = await startRun("report", seen);
});

async function linesOf(query = "", id = run.id): Promise<{ complete: string | null; lines: ReportLine[] }> {
  const response = await request(seen, `GET /v1/migrations/${id}/report${query}`, undefined, READER);
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/x-ndjson"]);
  expect(response.headers.get("cache-control")).toBe("no-store");
  const body = new TextDecoder().decode(await response.arrayBuffer()); // text() warns of a type that is not text/*
  expect(body === "" || body.endsWith("\n")).toBe(true);
  const lines = body
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as ReportLine);
  return { complete: response.headers.get("x-penstock-complete"), lines };
}
const outcomes = (lines: ReportLine[]) => lines.map(({ key, outcome }) => `${key}: ${outcome}`).sort();
const ALL = ["a: failed", "b: copied", 'c/é "line" \\n: copied', "d: copied", "large: copied"];

describe("GET /v1/migrations/:id/report", () => {
  it("is empty and not complete before anything is final", async () => {
    expect(await linesOf()).toEqual({ complete: "false", lines: [] });
  });

  it("has a line for each object that is final while the run goes on, and never complete: true", async () => {
    const counts: number[] = [];
    await carry(run, {
      hand: async (letter, at) => {
        const answer = await deliver(letter, at);
        if (letter.body.type === "list") await env.DATASETS.put("report/a", "a stranger's");
        if ((await statusOf(run)).finishedAt === null) {
          const { complete, lines } = await linesOf();
          expect(complete).toBe("false");
          counts.push(lines.length);
        }
        return answer;
      },
    });
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    expect(Math.max(...counts)).toBeGreaterThan(0);
  });

  it("is complete once the run has ended: a line for each object, with its proof or what went wrong", async () => {
    const { complete, lines } = await linesOf();
    expect(complete).toBe("true");
    expect(outcomes(lines)).toEqual(ALL);
    const of = (wanted: string) => lines.find(({ key }) => key === wanted);
    expect(of("a")).toMatchObject({ code: "destination-changed" });
    expect(of("b")).toMatchObject({ size: 1, proof: "md5" });
    expect(of("large")).toMatchObject({ size: PART_BYTES + 1 });
  });

  it.each([
    ["?outcome=failed", ["a: failed"]],
    ["?outcome=copied", ALL.slice(1)],
    ["?outcome=failed,copied", ALL],
    ["?outcome=failed&outcome=copied", ALL],
    ["?outcome=deleted", []],
  ])("chooses lines by %s", async (query, expected) => {
    const { complete, lines } = await linesOf(query);
    expect([complete, outcomes(lines)]).toEqual(["true", expected]);
  });

  it.each([
    "outcome=lost",
    "outcome=",
    "outcome=failed,,copied",
    "outcome=copied&outcome=x",
    "cursor=%2B",
    "cursor=YQ",
    "limit=1",
  ])("refuses ?%s", async (query) => {
    const { status, body } = await api(seen, `GET /v1/migrations/${run.id}/report?${query}`);
    expect([status, body["code"], body["field"]]).toEqual([400, "invalid-query", query.split("=")[0]]);
  });

  it("has lines that no part has, and is not complete as long as there are any", async () => {
    await runInDurableObject(migrationOf(env, run.id), (_, { storage }) => {
      storage.sql.exec("UPDATE run SET is_reported = 1");
      storage.sql.exec("INSERT INTO failure VALUES ('e', 'dead-letter', 'It was given up.', 0)");
    });
    const { complete, lines } = await linesOf("?outcome=failed");
    expect([complete, outcomes(lines)]).toEqual(["false", ["a: failed", "e: failed"]]);
    const { status, body } = await api(seen, `POST /v1/migrations/${run.id}/retry`);
    expect([status, body["code"]]).toEqual([409, "migration-running"]);
    await runInDurableObject(migrationOf(env, run.id), (_, { storage }) => {
      storage.sql.exec("UPDATE run SET is_reported = 2");
      storage.sql.exec("DELETE FROM failure WHERE key = 'e'");
    });
  });

  it("of a run that was cancelled is not complete before what its consumers had begun is settled, nor is it a list of keys", async () => {
    await registerDataset("report-late", "report/");
    const late = await startRun("report-late", seen);
    let asked = 0;
    await carry(late, {
      hand: (letter, at) => {
        if (letter.body.type !== "copy") return deliver(letter, at);
        const before = async () => {
          asked++;
          must(await migrationOf(env, late.id).cancel());
          expect(await linesOf("", late.id)).toEqual({ complete: "false", lines: [] });
          const keys = { dataset: "report-late", keys: { migration: late.id } };
          const { status, body } = await api(seen, "POST /v1/migrations", keys);
          expect([status, body["code"], body["field"]]).toEqual([409, "migration-running", "keys.migration"]);
        };
        return deliver(letter, around(at, "settleBatch", { before }));
      },
    });
    expect(asked).toBe(1);
    const { complete, lines } = await linesOf("", late.id);
    expect([complete, outcomes(lines)]).toEqual(["true", ["a", "b", KEYS[2], "d"].map((key) => `${key}: copied`)]);
  });

  it("asks for no more parts after its client has gone", async () => {
    const got = vi.fn<(key: string) => void>();
    const SYSTEM = new Proxy(env.SYSTEM, {
      get(bucket, name) {
        const value: unknown = Reflect.get(bucket, name);
        if (typeof value !== "function") return value;
        return (key: string, ...rest: unknown[]) => {
          if (name === "get") got(key);
          return (value as (...args: unknown[]) => unknown).call(bucket, key, ...rest);
        };
      },
    });
    const response = await request({ ...seen, SYSTEM }, `GET /v1/migrations/${run.id}/report`);
    const reader = response.body?.getReader();
    expect((await reader?.read())?.value?.length).toBeGreaterThan(0);
    await reader?.cancel();
    await scheduler.wait(50);
    expect(got).toHaveBeenCalledTimes(1);
  });

  it("that is too long for one answer goes on at its Link, each part once", async () => {
    const names = await migrationOf(env, run.id).reportNames(null, 10);
    const filler = Array.from({ length: 5000 - names.length }, (_, i) => `report-9${String(i).padStart(8, "0")}-x`);
    await runInDurableObject(migrationOf(env, run.id), (_, { storage }) => {
      storage.sql.exec("INSERT INTO report SELECT value FROM json_each(?)", JSON.stringify([...filler, "report-last"]));
    });
    const last = '{"key":"z","outcome":"failed","size":1}\n';
    await env.SYSTEM.put(`${runFolder(run.id)}report-last`, last);
    const pages = async (between: () => Promise<unknown>) => {
      const first = await request(seen, `GET /v1/migrations/${run.id}/report?outcome=failed`);
      const link = /^<(\/[^>]+)>; rel="next"$/.exec(first.headers.get("link") ?? "")?.[1];
      await first.body?.cancel();
      await between();
      const second = await request(seen, `GET ${link}`);
      expect([second.headers.get("link"), new TextDecoder().decode(await second.arrayBuffer())]).toEqual([null, last]);
      return [first, second].map(({ headers }) => headers.get("x-penstock-complete"));
    };
    expect(await pages(async () => undefined)).toEqual(["true", "true"]);
    // What was written since the first page was read may have come before it.
    const settling = (sql: string) =>
      runInDurableObject(migrationOf(env, run.id), (_, { storage }) => void storage.sql.exec(sql));
    await settling("INSERT INTO outbox (seq, queue, type, sends, body) VALUES (9999, 'migration', 'abort', 1, '{}')");
    expect(await pages(() => settling("DELETE FROM outbox WHERE seq = 9999"))).toEqual(["false", "false"]);
    await runInDurableObject(migrationOf(env, run.id), (_, { storage }) => {
      storage.sql.exec("DELETE FROM report WHERE name LIKE 'report-9%' OR name = 'report-last'");
    });
  });

  it("breaks off where a part is missing, and does not skip it", async () => {
    const [name] = await migrationOf(env, run.id).reportNames(null, 1);
    await env.SYSTEM.delete(runFolder(run.id) + name);
    for (const query of ["", "?outcome=deleted"]) {
      const response = await request(seen, `GET /v1/migrations/${run.id}/report${query}`);
      expect(response.status).toBe(200);
      await expect(response.arrayBuffer()).rejects.toThrow("cannot be read: object-not-found");
    }
  });
});
