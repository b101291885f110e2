import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { configOf } from "../../workers/adapters/config.ts";
import { newId } from "../../workers/adapters/ids.ts";
import { must } from "./harness/run.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { tokensOf } from "../../workers/adapters/tokens.ts";
import { sha256Hex } from "../../workers/adapters/web-hmac.ts";
import { isRevoked } from "../../workers/core/capability/authorise.ts";
import { decodeJwt } from "../../workers/core/capability/jwt.ts";
import type { CapabilityClaims } from "../../workers/core/capability/token.ts";
import { REVOCATIONS_MAX } from "../../workers/core/limits.ts";
import type { DatasetConfig } from "../../workers/core/manifest/dataset.ts";
import { app } from "../../workers/gateway/app.ts";

const ROLES = ["read", "submit", "admin"] as const;
let api: Env = env;
/** A dataset of its own for each test: what is revoked stays revoked. */
let name = "";
let config: DatasetConfig;
let named = 0;

beforeAll(async () => {
  const hashes = ROLES.map(async (role) => ({ sha256: await sha256Hex(`token-${role}`), role }));
  const limited = { sha256: await sha256Hex("token-limited"), role: "admin", datasets: ["elsewhere"] };
  api = { ...env, API_TOKENS: JSON.stringify([...(await Promise.all(hashes)), limited]) };
});

beforeEach(async () => {
  name = `set-${++named}`;
  const at = new Date().toISOString();
  config = {
    ...{ id: newId("ds", Date.now()), name, createdAt: at, updatedAt: at },
    ...{ kind: "files", bucket: "DATASETS", prefix: `${name}/`, read: "r2", schedule: null, liveTtlSeconds: 10 },
  };
  await datasetOf(env, name).configure(config);
});

afterEach(() => vi.restoreAllMocks());

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

async function call(method: string, path: string, body?: unknown, token = "token-admin", of = api): Promise<Answer> {
  const ctx = createExecutionContext();
  const init: RequestInit = {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
  };
  if (body !== undefined) init.body = JSON.stringify(body);
  const response = await app.fetch(new Request(`https://penstock.example/v1/datasets/${path}`, init), of, ctx);
  const answer = { status: response.status, body: await response.json<Record<string, unknown>>() };
  await waitOnExecutionContext(ctx);
  return answer;
}
const code = ({ status, body }: Answer) => [status, body["code"], body["field"]];

const mint = (body: object = { prefixes: [""] }, token = "token-read", of = api) =>
  call("POST", `${name}/capabilities`, body, token, of);
const revoke = (id: string, token = "token-submit") => call("DELETE", `${name}/capabilities/${id}`, undefined, token);
const revokeAll = (token = "token-admin") => call("DELETE", `${name}/capabilities`, undefined, token);

/** What the capability of an answer says, if it is valid at once. */
async function claimsOf({ status, body }: Answer): Promise<CapabilityClaims> {
  expect(status).toBe(201);
  const read = configOf(api);
  if (!read.ok) throw new Error(read.failure.detail);
  const claims = await tokensOf(api, read.value).verifyCapability(String(body["capability"]), Date.now());
  if (!claims.ok) throw new Error(claims.failure.code);
  return claims.value;
}

/** Whether the dataset says, to an isolate that asks it now, that the capability is revoked. */
async function dead(claims: CapabilityClaims): Promise<boolean> {
  const view = await datasetOf(env, name).readerView();
  if (!view.ok) throw new Error(view.failure.detail);
  const { ids, upTo } = view.value.revoked;
  return isRevoked(claims, { ids: new Set(ids), upTo });
}

const seconds = () => Math.floor(Date.now() / 1000);
const freeze = (ms = Date.now()) => vi.spyOn(Date, "now").mockReturnValue(ms);

describe("POST /v1/datasets/:dataset/capabilities", () => {
  it("answers a capability to read live, with the id by which it is revoked", async () => {
    const answer = await mint({ prefixes: ["t2m/"], keys: ["zarr.json"], expiresSeconds: 600 });
    const claims = await claimsOf(answer);
    expect(claims).toMatchObject({ ds: config.id, name, ver: "live", ops: ["read"], job: null });
    expect(claims).toMatchObject({ pfx: ["t2m/"], keys: ["zarr.json"], jti: answer.body["id"] });
    expect(answer.body["id"]).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    expect(answer.body["rootUrl"]).toBe(`https://penstock.example/t/${String(answer.body["capability"])}/${name}/`);
    expect(Date.parse(String(answer.body["expiresAt"]))).toBe(claims.exp * 1000);
    expect(claims.exp - claims.nbf).toBe(600);
  });

  it("is signed with the master key in front, by whichever the dataset's others were", async () => {
    const key = (byte: number) => new Uint8Array(32).fill(byte).toBase64({ alphabet: "base64url", omitPadding: true });
    for (const [kid, keys] of [
      ["k1", `k1:${key(1)}`],
      ["k2", `k2:${key(2)},k1:${key(1)}`],
      ["k2", `k2:${key(2)}`],
    ]) {
      const { body } = await mint({ prefixes: [""] }, "token-read", { ...api, MASTER_KEYS: keys ?? "" });
      expect(decodeJwt(String(body["capability"]))).toMatchObject({ ok: true, value: { header: { kid } } });
    }
  });

  it("takes the operations and the version, as they are named", async () => {
    expect((await claimsOf(await mint({ prefixes: [""], operations: ["head"] }))).ops).toEqual(["head"]);
    expect((await claimsOf(await mint({ prefixes: [""], operations: ["read", "head"] }))).ops).toEqual([
      "read",
      "head",
    ]);
    expect((await claimsOf(await mint({ prefixes: [""], version: "live" }))).ver).toBe("live");
  });

  it.each<[object, number, string, string]>([
    [{ prefixes: [""], operations: [] }, 400, "invalid-body", "operations"],
    [{ prefixes: [""], operations: ["write"] }, 400, "invalid-body", "operations.0"],
    [{ prefixes: [""], operations: "read" }, 400, "invalid-body", "operations"],
    [{ prefixes: [""], operations: ["read", "read", "read"] }, 400, "invalid-body", "operations"],
    [{ prefixes: [""], version: 3 }, 400, "invalid-body", "version"],
    [{ prefixes: [""], version: "3" }, 404, "unknown-version", "version"],
    [{ prefixes: [""], version: "" }, 404, "unknown-version", "version"],
    [{ prefixes: [""], ops: ["read"] }, 400, "invalid-body", "ops"],
  ])("refuses %j", async (body, status, failure, field) => {
    expect(code(await mint(body))).toEqual([status, failure, field]);
  });

  it("of a dataset that is not there is 404, and of one that cannot be asked 503", async () => {
    expect(code(await call("POST", "nowhere/capabilities", { prefixes: [""] }))).toEqual([
      404,
      "unknown-dataset",
      "dataset",
    ]);
    const silent = { getByName: () => ({ readerView: () => Promise.reject(new Error("reset")) }) };
    const without = { ...api, DATASET: silent as unknown as Env["DATASET"] };
    expect(code(await mint({ prefixes: [""] }, "token-read", without))).toEqual([503, "store-unavailable", undefined]);
  });
});

describe("DELETE /v1/datasets/:dataset/capabilities/:id", () => {
  it("revokes that capability and no other, everywhere within a minute, as often as it is said", async () => {
    const [one, other] = [await claimsOf(await mint()), await claimsOf(await mint())];
    for (let again = 0; again < 2; again++) {
      freeze();
      const answer = await revoke(one.jti);
      const everywhereBy = new Date(Date.now() + 60_000).toISOString();
      expect(answer).toEqual({ status: 200, body: { dataset: name, id: one.jti, revoked: true, everywhereBy } });
      vi.restoreAllMocks();
      expect([await dead(one), await dead(other)]).toEqual([true, false]);
    }
  });

  it("revokes a job's capability too, and that survives the revocation of all", async () => {
    const minted = await claimsOf(await mint());
    const ofJob = { ...minted, jti: `job-${crypto.randomUUID()}`, job: newId("job", Date.now()) };
    await revoke(ofJob.jti);
    expect(await dead(ofJob)).toBe(true);
    await revokeAll();
    expect(await dead(ofJob)).toBe(true);
  });

  it("takes an id of 1 to 64 letters, digits, _ and -, and says so", async () => {
    for (const id of ["a", "A_z-0", "x".repeat(64)]) expect((await revoke(id)).status).toBe(200);
    for (const id of ["x".repeat(65), "a.b", "%C3%A9", "a%2Fb", "a%20b", "*", "'%20OR%201=1"]) {
      expect(code(await revoke(id))).toEqual([400, "invalid-name", "id"]);
    }
  });

  it("without an id is no route, and revokes nothing", async () => {
    const claims = await claimsOf(await mint());
    for (const path of [`${name}/capabilities/`, `${name}/capabilities//`, `${name}/capabilities/a/b`]) {
      expect(code(await call("DELETE", path))).toEqual([404, "unknown-route", undefined]);
    }
    expect(await dead(claims)).toBe(false);
  });

  it(`keeps ${REVOCATIONS_MAX} at a time, each for a week, and then names the way out, which is one`, async () => {
    const began = Date.now();
    freeze(began);
    const revokeMany = (kind: string, count: number) =>
      Promise.all(Array.from({ length: count }, (_, n) => datasetOf(env, name).revokeCapability(`${kind}-${n}`)));
    await revokeMany("cap", REVOCATIONS_MAX - 1);
    await revokeMany("job", 1);
    expect(code(await revoke("one-more"))).toEqual([409, "too-many-revocations", undefined]);
    expect((await revoke("cap-0")).status).toBe(200);
    // The revocation of all stands for those that it revoked, and leaves the jobs'.
    expect((await revokeAll()).status).toBe(200);
    expect(must(await datasetOf(env, name).readerView()).revoked.ids).toEqual(["job-0"]);

    await revokeMany("cap", REVOCATIONS_MAX - 1);
    expect(code(await revoke("one-more"))).toEqual([409, "too-many-revocations", undefined]);
    // A capability of seven days that was minted at that moment, and sixty seconds of skew.
    freeze(began + 604_860_000);
    expect(code(await revoke("one-more"))).toEqual([409, "too-many-revocations", undefined]);
    freeze(began + 604_862_000);
    expect((await revoke("one-more")).status).toBe(200);
  });
});

describe("DELETE /v1/datasets/:dataset/capabilities", () => {
  it("revokes all that were minted so far, and none that is minted after, in the same second", async () => {
    freeze();
    const before = [await claimsOf(await mint()), await claimsOf(await mint({ keys: ["k"] }))];
    const answer = await revokeAll();
    const everywhereBy = new Date(Date.now() + 60_000).toISOString();
    expect(answer).toEqual({ status: 200, body: { dataset: name, id: null, revoked: true, everywhereBy } });
    const after = await claimsOf(await mint());
    for (const claims of before) expect(await dead(claims)).toBe(true);
    expect(await dead(after)).toBe(false);
    expect(after.nbf).toBe(seconds() + 1);
  });

  it("a second time in that second revokes what was minted between the two", async () => {
    freeze();
    await revokeAll();
    const between = await claimsOf(await mint());
    await revokeAll();
    const after = await claimsOf(await mint());
    expect([await dead(between), await dead(after)]).toEqual([true, false]);
  });

  it("revokes one that was being minted meanwhile, though it was signed after", async () => {
    const began = Date.now();
    const clock = freeze(began);
    const set = datasetOf(env, name);
    const meanwhile = {
      getByName: () => ({
        readerView: async () => {
          const view = await set.readerView();
          await set.revokeCapability(null);
          clock.mockReturnValue(began + 5000);
          return view;
        },
      }),
    };
    const during = await mint({ prefixes: [""] }, "token-read", {
      ...api,
      DATASET: meanwhile as unknown as Env["DATASET"],
    });
    expect(await dead(await claimsOf(during))).toBe(true);
  });

  it("leaves the capabilities of jobs, which end with their job", async () => {
    const claims = await claimsOf(await mint());
    await revokeAll();
    expect([await dead(claims), await dead({ ...claims, job: newId("job", Date.now()) })]).toEqual([true, false]);
  });

  it("revokes nothing of another dataset", async () => {
    const claims = await claimsOf(await mint());
    const other = { ...config, id: newId("ds", Date.now()), name: "other", prefix: "other/" };
    await datasetOf(env, "other").configure(other);
    expect((await call("DELETE", "other/capabilities")).status).toBe(200);
    expect((await call("DELETE", `other/capabilities/${claims.jti}`)).status).toBe(200);
    expect(await dead(claims)).toBe(false);
  });
});

describe("who may revoke", () => {
  it.each([
    ["token-read", 403, 403],
    ["token-submit", 200, 403],
    ["token-admin", 200, 200],
    ["token-limited", 403, 403],
    ["no-token-of-ours", 401, 401],
  ])("%s: one is %i, all are %i", async (token, one, all) => {
    const claims = await claimsOf(await mint());
    expect([(await revoke("another", token)).status, (await revokeAll(token)).status]).toEqual([one, all]);
    expect(await dead(claims)).toBe(all === 200);
  });

  it("is told of a dataset that is not there, or cannot be", async () => {
    for (const path of ["nowhere/capabilities/a", "nowhere/capabilities", "No_Such/capabilities"]) {
      expect(code(await call("DELETE", path))).toEqual([404, "unknown-dataset", "dataset"]);
    }
  });

  it("is a person or a pipeline, and no capability", async () => {
    const { body } = await mint();
    expect(code(await revoke("a", String(body["capability"])))).toEqual([401, "invalid-token", undefined]);
  });
});
