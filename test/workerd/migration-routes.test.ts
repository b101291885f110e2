import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { datasetOf, migrationOf } from "../../workers/adapters/objects.ts";
import { createS3Writer } from "../../workers/adapters/s3-writer.ts";
import { failure } from "../../workers/core/failure.ts";
import type { MigrationStatus } from "../../workers/core/migration/status.ts";
import { ADMIN, api, apiTokens, LIMITED, READER } from "./harness/api.ts";
import { carry, deliver } from "./harness/delivery.ts";
import { keysInR2 } from "./harness/expect-exact.ts";
import { must, registerDataset, statusOf, type TestRun } from "./harness/run.ts";
import { envWith, fill, text } from "./harness/source.ts";
import { ownSource } from "./harness/own-source.ts";

const place = { ...ownSource(), addressing: "path" } as const;
const NOBODY = "mig_00000000000000000000000000";
let seen: Env;

beforeAll(async () => {
  seen = envWith("plain", await apiTokens("mine"));
});

/** A dataset, and these keys of it at the source, each of which says its name. */
async function given(dataset: string, keys: readonly string[]): Promise<void> {
  await fill(`routes/${dataset}/`, new Map(keys.map((key) => [key, text(key)])));
  await registerDataset(dataset, `routes/${dataset}/`);
}

const asRun = ({ id, dataset }: MigrationStatus): TestRun => ({ id, dataset, prefix: `${dataset}/`, env: seen });

/** Starts a run by the API, which must take it. */
async function started(line: string, body?: unknown): Promise<TestRun> {
  const answer = await api<MigrationStatus>(seen, line, body);
  expect([answer.status, answer.body]).toMatchObject([202, { state: "listing" }]);
  return asRun(answer.body);
}
const start = (body: object) => started("POST /v1/migrations", body);

async function finished(run: TestRun): Promise<MigrationStatus> {
  await carry(run);
  return statusOf(run);
}

const refused = async (line: string, body?: unknown, token = ADMIN) => {
  const { status, body: problem } = await api(seen, line, body, token);
  return [status, problem["code"], problem["field"]];
};
const lockOf = async (dataset: string) => must(await datasetOf(env, dataset).describe()).migration;

describe("POST /v1/migrations with keys", () => {
  it("of the request copies these and no others, and reports those that are not there", async () => {
    await given("inline", ["a", "b", "c/ä", "c/d"]);
    const run = await start({ dataset: "inline", keys: ["c/ä", "a", "gone", "a"] });
    const status = await finished(run);
    expect(status).toMatchObject({ state: "done", copied: { objects: 2 }, failed: { objects: 1 } });
    expect(status.failures).toMatchObject([{ key: "gone", code: "source-object-missing" }]);
    expect(await keysInR2("inline/")).toEqual(["a", "c/ä"]);
  });

  it("of the request takes a key that is named twice once, however far apart", async () => {
    await given("twice", ["a"]);
    const between = Array.from({ length: 300 }, (_, i) => `x${i}`);
    const status = await finished(await start({ dataset: "twice", keys: ["a", ...between, "a"], include: ["a"] }));
    expect(status).toMatchObject({ state: "done", listed: { objects: 1 }, copied: { objects: 1 } });
  });

  it("that are too many, or too long, for a request is told where to put them", async () => {
    const where = 'put a longer list into a bucket and name it: "keys": {"bucket", "key"}';
    const post = (keys: string[]) => api(seen, "POST /v1/migrations", { dataset: "inline", keys });
    const long = await post(Array.from({ length: 1100 }, (_, i) => `${i}`.padStart(1000, "k")));
    expect(long).toMatchObject({ status: 413, body: { code: "body-too-large" } });
    expect(long.body["detail"]).toContain(where);
    const many = await post(Array.from({ length: 10_001 }, (_, i) => `k${i}`));
    expect(many).toMatchObject({ status: 400, body: { code: "invalid-body", field: "keys" } });
    expect(many.body["detail"]).toContain(where);
  });

  it("of an object in a bucket takes NDJSON and CSV", async () => {
    await given("listed", ["a", "b", "c", "d"]);
    await env.DATASETS.put("lists/one.ndjson", '"a"\n{"key":"b"}\n');
    await env.DATASETS.put("lists/two.csv", "size,key\n1,c\n");
    for (const key of ["lists/one.ndjson", "lists/two.csv"]) {
      expect(await finished(await start({ dataset: "listed", keys: { bucket: "DATASETS", key } }))).toMatchObject({
        ...{ state: "done", failed: { objects: 0 } },
      });
    }
    expect(await keysInR2("listed/")).toEqual(["a", "b", "c"]);
  });

  it("of an object that is not there, or in no bucket of datasets, is refused", async () => {
    const keys = (bucket: string, key: string) => ({ dataset: "listed", keys: { bucket, key } });
    const line = "POST /v1/migrations";
    expect(await refused(line, keys("DATASETS", "none"))).toEqual([404, "object-not-found", "keys.key"]);
    expect(await refused(line, keys("SYSTEM", "none"))).toEqual([404, "unknown-bucket", "keys.bucket"]);
    expect(await refused(line, keys("NOWHERE", "none"))).toEqual([404, "unknown-bucket", "keys.bucket"]);
    expect(await lockOf("listed")).toBeNull();
  });

  it("by a token that is limited to datasets come from its dataset alone", async () => {
    await given("mine", ["a"]);
    const line = "POST /v1/migrations";
    const keys = (key: string) => ({ dataset: "mine", keys: { bucket: "DATASETS", key } });
    expect(await refused(line, keys("lists/one.ndjson"), LIMITED)).toEqual([403, "out-of-scope", "keys.key"]);
    await env.DATASETS.put("mine/list.ndjson", '"a"\n');
    const { status, body } = await api<MigrationStatus>(seen, line, keys("mine/list.ndjson"), LIMITED);
    expect(status).toBe(202);
    expect(await finished(asRun(body))).toMatchObject({ copied: { objects: 1 } });
    expect(await refused(line, { dataset: "listed" }, LIMITED)).toEqual([403, "out-of-scope", undefined]);
  });

  it("of a run is refused where it is another dataset's, never was, or has not ended", async () => {
    const [other] = (await api<{ migrations: { id: string }[] }>(seen, "GET /v1/migrations?dataset=inline")).body
      .migrations;
    const keys = (migration: string) => ({ dataset: "listed", dryRun: true, keys: { migration } });
    const line = "POST /v1/migrations";
    expect(await refused(line, keys(other?.id ?? ""))).toEqual([404, "unknown-migration", "keys.migration"]);
    expect(await refused(line, keys(NOBODY))).toEqual([404, "unknown-migration", "keys.migration"]);
    const running = await start({ dataset: "listed" });
    expect(await refused(line, keys(running.id))).toEqual([409, "migration-running", "keys.migration"]);
    await carry(running);
  });
});

describe("the estimate", () => {
  it("is of what the run was asked to do: the way in, the way back, a list of keys, a verification", async () => {
    await given("priced", ["a", "b"]);
    const of = async (options: object) => (await finished(await start({ dataset: "priced", ...options }))).estimate;
    const dryIn = await of({ dryRun: true });
    expect(dryIn.requests).toMatchObject({ sourceList: 1, sourceGet: 2, sourcePut: 0 });
    expect(dryIn.dollars).toMatchObject({ sourceEgress: (dryIn.bytes / 1e9) * 0.09, storageMonth: 0.015 });
    const byKey = await of({ dryRun: true, keys: ["a", "b", "gone"] });
    expect(byKey).toMatchObject({ objects: 2, requests: { sourceList: 3, sourceGet: 2 } });

    await carry(await start({ dataset: "priced" }));
    const free = { sourceEgress: 0, storageMonth: 0 };
    expect(await of({ verify: "listing" })).toMatchObject({ objects: 0, requests: { sourceGet: 0, classB: 0 } });
    const deep = await of({ verify: "deep" });
    expect(deep).toMatchObject({ objects: 2, requests: { sourceGet: 0, classB: 2 }, dollars: free });
    await env.DATASETS.put("priced/output", "x");
    const back = await of({ dryRun: true, direction: "back" });
    expect(back).toMatchObject({ objects: 1, requests: { sourcePut: 1, sourceGet: 2, classB: 1 }, dollars: free });
  });
});

describe("the lock of a dataset", () => {
  it("is for runs that copy: dry runs and verifications neither wait nor hold others up", async () => {
    await given("locked", ["a", "b"]);
    const copy = await start({ dataset: "locked" });
    expect(await refused("POST /v1/migrations", { dataset: "locked" })).toEqual([409, "migration-running", undefined]);
    const dry = await start({ dataset: "locked", dryRun: true });
    const check = await start({ dataset: "locked", verify: "listing" });
    expect(await finished(dry)).toMatchObject({ state: "done", task: "estimate", copied: { objects: 0 } });
    expect(await keysInR2("locked/")).toEqual([]);
    expect(await finished(check)).toMatchObject({ task: "verify", failed: { objects: 2 }, verified: { objects: 0 } });
    expect(await lockOf("locked")).toBe(copy.id);
    expect(await finished(copy)).toMatchObject({ state: "done", copied: { objects: 2 } });
    expect(await lockOf("locked")).toBeNull();
  });
});

describe("pause, resume and cancel", () => {
  it("answer with the status, hold the work and let it go on", async () => {
    await given("paused", ["a", "b", "c"]);
    const run = await start({ dataset: "paused" });
    const post = (what: string) => api<MigrationStatus>(seen, `POST /v1/migrations/${run.id}/${what}`);
    for (let twice = 0; twice < 2; twice++) {
      expect(await post("pause")).toMatchObject({ status: 200, body: { id: run.id, state: "paused" } });
    }
    expect(await lockOf("paused")).toBe(run.id);
    expect(await post("resume")).toMatchObject({ status: 200, body: { state: "listing" } });
    expect(await finished(run)).toMatchObject({ state: "done", copied: { objects: 3 } });
    for (const what of ["pause", "resume", "cancel"]) {
      expect(await refused(`POST /v1/migrations/${run.id}/${what}`)).toEqual([409, "migration-ended", undefined]);
    }
  });

  it("give the dataset free at once where the run is cancelled", async () => {
    await given("cancelled", ["a"]);
    const run = await start({ dataset: "cancelled" });
    const cancelled = await api<MigrationStatus>(seen, `POST /v1/migrations/${run.id}/cancel`);
    expect(cancelled).toMatchObject({ status: 200, body: { state: "cancelled" } });
    expect(cancelled.body.finishedAt).not.toBeNull();
    expect(await lockOf("cancelled")).toBeNull();
    expect(await finished(await start({ dataset: "cancelled" }))).toMatchObject({ copied: { objects: 1 } });
  });
});

describe("retry", () => {
  it("copies what failed and nothing else, once the run has ended", async () => {
    await given("retried", ["a", "b", "c"]);
    const run = await start({ dataset: "retried" });
    expect(await refused(`POST /v1/migrations/${run.id}/retry`)).toEqual([409, "migration-running", undefined]);
    await carry(run, {
      hand: async (letter, at) => {
        const answer = await deliver(letter, at);
        if (letter.body.type === "list") await env.DATASETS.put("retried/b", "a stranger's");
        return answer;
      },
    });
    expect((await statusOf(run)).failures).toMatchObject([{ key: "b", code: "destination-changed" }]);
    await env.DATASETS.delete(["retried/a", "retried/b"]);
    const again = await finished(await started(`POST /v1/migrations/${run.id}/retry`));
    expect(again).toMatchObject({ state: "done", listed: { objects: 1 }, copied: { objects: 1 } });
    expect(await keysInR2("retried/")).toEqual(["b", "c"]);
  });
});

describe("retry, of a run that ended before its work was done,", () => {
  const again = (run: TestRun) => api(seen, `POST /v1/migrations/${run.id}/retry`);
  const startAgain = {
    status: 409,
    body: { code: "migration-ended", detail: expect.stringMatching(/start .* again/) },
  };

  it("is refused: what it never came to has no line", async () => {
    await given("unlisted", ["a", "b"]);
    const cancelled = await start({ dataset: "unlisted" });
    must(await migrationOf(env, cancelled.id).cancel());
    await carry(cancelled);
    expect(await again(cancelled)).toMatchObject(startAgain);
    const failed = await start({ dataset: "unlisted" });
    await migrationOf(env, failed.id).failRun(1, failure("source-forbidden"), {});
    await carry(failed);
    expect(await statusOf(failed)).toMatchObject({ state: "failed", problem: { code: "source-forbidden" } });
    const answer = await again(failed);
    expect(answer).toMatchObject(startAgain);
    expect(answer.body["detail"]).toContain("source-forbidden");
    expect(await lockOf("unlisted")).toBeNull();
    expect(await finished(await start({ dataset: "unlisted" }))).toMatchObject({ copied: { objects: 2 } });
  });

  it("is taken where all has a line, and only the deletes were too many", async () => {
    await given("overfull", ["a", "b"]);
    await carry(await start({ dataset: "overfull" }));
    const source = createS3Writer(place, place);
    must(await source.delete("routes/overfull/b"));
    const run = await start({ dataset: "overfull", deleteExtraneous: true });
    expect(await finished(run)).toMatchObject({ state: "failed", problem: { code: "too-many-deletes" } });
    expect(await again(run)).toMatchObject({ status: 202 });
  });
});

describe("verify", () => {
  it("looks again at what a run was about; a retry of it copies what it found wanting", async () => {
    await given("verified", ["x/a", "x/b", "x/c", "y"]);
    const copy = await start({ dataset: "verified", prefix: "x/" });
    await carry(copy);
    const path = `POST /v1/migrations/${copy.id}/verify`;
    for (const body of [undefined, { deep: true }]) {
      const found = await finished(await started(path, body));
      expect(found).toMatchObject({ state: "done", verified: { objects: 3 }, failed: { objects: 0 } });
    }
    await env.DATASETS.put("verified/x/a", "ten  bytes");
    await env.DATASETS.put("verified/x/b", "x/B");
    await env.DATASETS.delete("verified/x/c");
    const check = await finished(await started(path));
    expect(check.failures.map(({ key, code }) => [key, code])).toEqual([
      ["x/a", "copy-different"],
      ["x/b", "copy-different"],
      ["x/c", "copy-missing"],
    ]);
    const mended = await finished(await started(`POST /v1/migrations/${check.id}/retry`));
    expect(mended).toMatchObject({ state: "done", copied: { objects: 3 }, failed: { objects: 0 } });
    expect(await finished(await started(path))).toMatchObject({ verified: { objects: 3 }, failed: { objects: 0 } });
    expect(await refused(path, { deep: "yes" })).toEqual([400, "invalid-body", "deep"]);
  });
});

describe("the routes of one migration", () => {
  const ROUTES = ["POST pause", "POST resume", "POST cancel", "POST retry", "POST verify", "GET report", "GET events"];

  it.each(ROUTES)("%s is unknown-migration for what is none, and out-of-scope for a limited token", async (route) => {
    const [method, what] = route.split(" ");
    const { body } = await api<{ migrations: { id: string }[] }>(seen, "GET /v1/migrations?dataset=inline");
    const id = body.migrations[0]?.id ?? "";
    for (const none of [NOBODY, "mig_1"]) {
      expect(await refused(`${method} /v1/migrations/${none}/${what}`)).toEqual([404, "unknown-migration", undefined]);
    }
    const line = `${method} /v1/migrations/${id}/${what}`;
    expect(await refused(line, undefined, LIMITED)).toEqual([403, "out-of-scope", undefined]);
    if (method === "GET") return;
    expect(await refused(line, undefined, READER)).toEqual([403, "forbidden-role", undefined]);
    expect(await refused(line, { colour: "red" })).toEqual([400, "invalid-body", "colour"]);
  });
});

describe("GET /v1/migrations", () => {
  const list = async (query: string, token = ADMIN) =>
    (await api<{ migrations: Record<string, string>[] }>(seen, `GET /v1/migrations${query}`, undefined, token)).body
      .migrations;

  it("says what each run does, and is narrowed by dataset and state", async () => {
    const ofLocked = await list("?dataset=locked");
    expect(new Set(ofLocked.map(({ task, direction, state }) => `${task} ${direction} ${state}`))).toEqual(
      new Set(["copy in done", "estimate in done", "verify in done"]),
    );
    expect((await list("?state=cancelled")).map(({ dataset }) => dataset)).toEqual(["cancelled", "unlisted"]);
    expect(await list("?dataset=locked&state=running")).toEqual([]);
    expect((await list("", LIMITED)).map(({ dataset }) => dataset)).toEqual(["mine"]);
  });

  it.each(["state=paused", "dataset=A", "colour=red"])("refuses ?%s by its name", async (query) => {
    const [field] = query.split("=");
    expect(await refused(`GET /v1/migrations?${query}`)).toEqual([400, "invalid-query", field]);
  });

  it("refuses another dataset to a token that is limited", async () => {
    expect(await refused("GET /v1/migrations?dataset=locked", undefined, LIMITED)).toEqual([
      ...[403, "out-of-scope", undefined],
    ]);
  });
});
