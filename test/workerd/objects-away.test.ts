import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { isAway } from "../../workers/adapters/ask.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { ADMIN, apiTokens, request } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";

let seen: Env;

beforeAll(async () => {
  seen = Object.assign({}, env, await apiTokens("mine"));
  const { seal } = await fillDataset(seen, "away", "files", { "raw/a.jsonl": "{}\n" });
  await seal();
});

/** The environment in which whatever is asked of an object of this class throws, but for these answers. */
function throwing(binding: "DATASET" | "DIRECTORY" | "GPU_JOB" | "MIGRATION", error: Error, answers: object = {}): Env {
  const throwIt = async () => {
    throw error;
  };
  const stub = new Proxy(answers, { get: (target, name) => Reflect.get(target, name) ?? throwIt });
  return { ...seen, [binding]: { getByName: () => stub } };
}
const reset = (mark: string) =>
  Object.assign(new Error("Durable Object reset because its code was updated."), { [mark]: true });

const ROUTES: [string, object?][] = [
  ["GET /v1/datasets"],
  ["GET /v1/datasets/away"],
  ["PUT /v1/datasets/away", { kind: "files", prefix: "away/" }],
  ["PATCH /v1/datasets/away", { liveTtlSeconds: 5 }],
  ["GET /v1/datasets/away/manifest"],
  ["POST /v1/datasets/away/places", { prefix: "", reset: true }],
  ["GET /v1/datasets/away/registry"],
  ["POST /v1/datasets/away/registry", { registry: {} }],
  ["GET /v1/resolve?name=a.jsonl&dataset=away"],
  ["GET /v1/datasets/away/versions"],
  ["POST /v1/datasets/away/versions", {}],
  ["GET /v1/datasets/away/versions/1"],
  ["GET /v1/datasets/away/versions/1..1"],
  ["GET /v1/datasets/away/versions/1/exports/stac"],
  ["PUT /v1/datasets/away/aliases/stable", { version: 1 }],
  ["DELETE /v1/datasets/away/aliases/stable"],
  ["GET /v1/datasets/away/records/raw/a.jsonl"],
  ["GET /v1/datasets/away/reconcile"],
  ["POST /v1/datasets/away/reconcile", {}],
  ["POST /v1/datasets/away/capabilities", { prefixes: [""] }],
  ["DELETE /v1/datasets/away/capabilities"],
];

describe("an object that was reset, as every deployment does", () => {
  it.each(ROUTES)("makes %s a 503 that says when to come again", async (line, body) => {
    for (const mark of ["retryable", "overloaded", "durableObjectReset"]) {
      const answer = await request(throwing("DATASET", reset(mark)), line, body);
      expect([answer.status, answer.headers.get("retry-after")], mark).toEqual([503, "2"]);
      expect(await answer.json()).toMatchObject({ code: "store-unavailable" });
    }
  });

  it.each([
    ["DIRECTORY", "GET /v1/datasets"],
    ["DIRECTORY", "GET /v1/migrations"],
    ["DIRECTORY", "GET /v1/jobs"],
    ["MIGRATION", "GET /v1/migrations/mig_01J00000000000000000000000"],
    ["GPU_JOB", "GET /v1/jobs/job_01J00000000000000000000000"],
  ] as const)("is a 503 too where it is the %s of %s", async (binding, line) => {
    const answer = await request(throwing(binding, reset("retryable")), line, undefined, ADMIN);
    expect([answer.status, await answer.json()]).toMatchObject([503, { code: "store-unavailable" }]);
  });

  it("is told from one whose code has failed: that is a 500, for to ask again is no help", async () => {
    const failed = Object.assign(new TypeError("x is not a function"), { remote: true });
    const answer = await request(throwing("DATASET", failed), "GET /v1/datasets/away/versions");
    expect([answer.status, await answer.json()]).toMatchObject([500, { code: "internal" }]);
  });

  it("is marked so by the runtime itself", async () => {
    const dataset = datasetOf(env, "aborted");
    const during: unknown = await runInDurableObject(dataset, (_, ctx) => ctx.abort("gone")).catch(
      (error: unknown) => error,
    );
    const later: unknown = await dataset.config().catch((error: unknown) => error);
    expect([isAway(during), isAway(later)]).toEqual([true, true]);
  });

  it("is a 503 where a manifest was to be read on, and where URLs were to be signed", async () => {
    const manifestHead = async () => datasetOf(env, "away").manifestHead();
    for (const more of ["", "?format=csv", "?sign=edge", "?sign=r2"]) {
      const seenAway = throwing("DATASET", new Error("reset"), { manifestHead });
      const answer = await request(seenAway, `GET /v1/datasets/away/manifest${more}`);
      expect([answer.status, await answer.json()], more).toMatchObject([503, { code: "store-unavailable" }]);
    }
  });
});
