import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { configOf } from "../../workers/adapters/config.ts";
import { newId } from "../../workers/adapters/ids.ts";
import { datasetOf, directoryOf, jobOf } from "../../workers/adapters/objects.ts";
import { tokensOf } from "../../workers/adapters/tokens.ts";
import type { CapabilityClaims, JobClaims, Tokens } from "../../workers/core/capability/token.ts";
import { decodeJwt } from "../../workers/core/capability/jwt.ts";
import type { DatasetConfig } from "../../workers/core/manifest/dataset.ts";
import worker from "../../workers/index.ts";
import { jobSpec, stubOf } from "./harness/job.ts";

const key = (byte: number) => new Uint8Array(32).fill(byte).toBase64({ alphabet: "base64url", omitPadding: true });
const withKeys = (...masterKeys: string[]): Env => ({ ...env, MASTER_KEYS: masterKeys.join(",") });
const OLD = withKeys(`k1:${key(1)}`);

function tokens(of: Env): Tokens {
  const config = configOf(of);
  if (!config.ok) throw new Error(config.failure.detail);
  return tokensOf(of, config.value);
}

async function fetchFrom(
  of: Env,
  path: string,
  init: RequestInit<IncomingRequestCfProperties> = {},
): Promise<{ status: number; text: string }> {
  const ctx = createExecutionContext();
  const response = await worker.fetch(
    new Request<unknown, IncomingRequestCfProperties>(`https://penstock.example${path}`, init),
    of,
    ctx,
  );
  const text = new TextDecoder().decode(await response.arrayBuffer());
  // What a read leaves running is the report of its bytes, which takes its time, and is nothing to these tests.
  if (path.startsWith("/v1/")) await waitOnExecutionContext(ctx);
  return { status: response.status, text };
}

const outcome = ({ status, text }: { status: number; text: string }) =>
  status < 300 ? [status, text] : [status, (JSON.parse(text) as { code: string }).code];

const seconds = () => Math.floor(Date.now() / 1000);
let dataset: DatasetConfig;
let jobId = "";

beforeAll(async () => {
  const at = new Date().toISOString();
  const claim = { name: "era5", kind: "files", bucket: "DATASETS", prefix: "era5/", schedule: null };
  const claimed = await directoryOf(env).claimDataset(claim, newId("ds", Date.now()));
  if (!claimed.ok) throw new Error(claimed.failure.detail);
  dataset = {
    ...{ id: claimed.value.id, name: "era5", createdAt: at, updatedAt: at },
    ...{ kind: "files", bucket: "DATASETS", prefix: "era5/", read: "r2", schedule: null, liveTtlSeconds: 10 },
  };
  await datasetOf(env, "era5").configure(dataset);
  await env.DATASETS.put("era5/t2m/0", "zero");
  jobId = await createJob();
});

afterEach(() => vi.restoreAllMocks());

async function createJob(): Promise<string> {
  const spec = jobSpec({ datasetId: dataset.id, heartbeatTimeoutSeconds: 3600, lostAfterSeconds: 3600 });
  await stubOf(spec).create(spec);
  return spec.id;
}

const capability = (more: Partial<CapabilityClaims> = {}, of = OLD) =>
  tokens(of).mintCapability({
    ...{ ds: dataset.id, name: "era5", ver: "live", pfx: [""], keys: [], ops: ["read"], job: null },
    ...{ nbf: seconds(), exp: seconds() + 3600, jti: crypto.randomUUID() },
    ...more,
  });
const jobToken = (more: Partial<JobClaims> = {}, of = OLD) =>
  tokens(of).mintJobToken({
    ...{ job: jobId, ds: dataset.id, nbf: seconds(), exp: seconds() + 3600, jti: crypto.randomUUID() },
    ...more,
  });
const read = async (token: string, of = OLD) => outcome(await fetchFrom(of, `/t/${token}/era5/t2m/0`));
const beat = async (token: string, of = OLD, job = jobId) => {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const answer = await fetchFrom(of, `/v1/jobs/${job}/heartbeat`, { method: "POST", headers, body: '{"node":"n"}' });
  return outcome(answer)[answer.status < 300 ? 0 : 1];
};

describe("time, with 60 seconds of skew", () => {
  it.each([
    ["now", 0, 3600, [200, "zero"], 200],
    ["expired within the skew", -3600, -30, [200, "zero"], 200],
    ["expired beyond the skew", -3600, -61, [403, "expired-token"], "expired-token"],
    ["not yet valid within the skew", 30, 3600, [200, "zero"], 200],
    ["not yet valid beyond the skew", 120, 3600, [403, "token-not-yet-valid"], "token-not-yet-valid"],
  ])("a capability and a job token, %s", async (_, from, until, readOutcome, beatOutcome) => {
    vi.spyOn(Date, "now").mockReturnValue(Date.now());
    const times = { nbf: seconds() + from, exp: seconds() + until };
    expect(await read(await capability(times))).toEqual(readOutcome);
    expect(await beat(await jobToken(times))).toBe(beatOutcome);
  });
});

describe("a capability", () => {
  it("of a dataset of the same name with another id is refused: a name used again is not the old dataset", async () => {
    expect(await read(await capability({ ds: newId("ds", Date.now()) }))).toEqual([403, "wrong-dataset"]);
  });

  it("for a version that there is not yet opens nothing; only an object may be missing", async () => {
    const sealed = await capability({ ver: "3" });
    expect(outcome(await fetchFrom(OLD, `/t/${sealed}/era5@3/t2m/0`))).toEqual([400, "invalid-name"]);
    expect(await read(sealed)).toEqual([403, "wrong-dataset"]);
  });

  it("says what is wrong with it by a code of its own, on either door", async () => {
    vi.spyOn(Date, "now").mockReturnValue(Date.now());
    const good = await capability({ pfx: ["t2m/"] });
    const looking = await capability({ ops: ["head"] });
    const cases: [string, string, string, number, string][] = [
      ["forged", `${good.slice(0, -2)}AA`, "era5/t2m/0", 401, "invalid-token"],
      ["expired", await capability({ exp: seconds() - 61 }), "era5/t2m/0", 403, "expired-token"],
      ["too early", await capability({ nbf: seconds() + 120 }), "era5/t2m/0", 403, "token-not-yet-valid"],
      ["a job's token", await jobToken(), "era5/t2m/0", 403, "wrong-token-kind"],
      ["another dataset", good, "era6/t2m/0", 403, "wrong-dataset"],
      ["another version", good, "era5@3/t2m/0", 403, "wrong-dataset"],
      ["another prefix", good, "era5/t2m-private/0", 403, "out-of-scope"],
      ["a prefix by an escape", good, "era5/t2m%2D/0", 403, "out-of-scope"],
      ["an operation that it is not for", looking, "era5/t2m/0", 403, "wrong-operation"],
    ];
    for (const [what, token, place, status, code] of cases) {
      expect([what, ...outcome(await fetchFrom(OLD, `/t/${token}/${place}`))]).toEqual([what, status, code]);
      const headers = { authorization: `Bearer ${token}` };
      expect([what, ...outcome(await fetchFrom(OLD, `/d/${place}`, { headers }))]).toEqual([what, status, code]);
      expect([what, ...outcome(await fetchFrom(OLD, `/d/${place}?token=${token}`))]).toEqual([what, status, code]);
    }
    expect(await read(good)).toEqual([200, "zero"]);
    const head = await fetchFrom(OLD, `/t/${looking}/era5/t2m/0`, { method: "HEAD" });
    expect(head).toEqual({ status: 200, text: "" });
  });

  it("of a job is good while the job runs, and revoked within 60 seconds of its end", async () => {
    const job = await createJob();
    const token = await capability({ job });
    expect(await read(token)).toEqual([200, "zero"]);
    await jobOf(env, job).cancel();
    const now = Date.now();
    vi.spyOn(Date, "now").mockReturnValue(now + 61_000);
    expect(await read(token)).toEqual([403, "revoked-token"]);
  });

  it("of a job that had ended before, or never was, is revoked at once", async () => {
    const job = await createJob();
    await jobOf(env, job).cancel();
    expect(await read(await capability({ job }))).toEqual([403, "revoked-token"]);
    expect(await read(await capability({ job: newId("job", Date.now()) }))).toEqual([403, "revoked-token"]);
  });
});

describe("a job token", () => {
  it("opens its own job's routes and no other's", async () => {
    const other = await createJob();
    expect(await beat(await jobToken())).toBe(200);
    expect(await beat(await jobToken({ job: other }))).toBe("out-of-scope");
    expect(await beat(await jobToken(), OLD, other)).toBe("out-of-scope");
  });

  it("of a job that has ended is answered job-ended, and not as if it were forged", async () => {
    const job = await createJob();
    await jobOf(env, job).cancel();
    expect(await beat(await jobToken({ job }), OLD, job)).toBe("job-ended");
  });
});

describe("the master keys", () => {
  const both = withKeys(`k2:${key(2)}`, `k1:${key(1)}`);
  const onlyNew = withKeys(`k2:${key(2)}`);

  it("rotate without a gap: the new one signs, the old one still verifies, until it is removed", async () => {
    const [oldCapability, oldJobToken] = [await capability(), await jobToken()];
    const [newCapability, newJobToken] = [await capability({}, both), await jobToken({}, both)];
    expect(decodeJwt(newCapability)).toMatchObject({ value: { header: { kid: "k2" } } });
    for (const token of [oldCapability, newCapability]) expect(await read(token, both)).toEqual([200, "zero"]);
    for (const token of [oldJobToken, newJobToken]) expect(await beat(token, both)).toBe(200);

    expect(await read(newCapability, onlyNew)).toEqual([200, "zero"]);
    expect(await read(oldCapability, onlyNew)).toEqual([401, "invalid-token"]);
    expect(await beat(newJobToken, onlyNew)).toBe(200);
    expect(await beat(oldJobToken, onlyNew)).toBe("invalid-token");
  });

  it("are told apart by more than their kid: another key under an old kid verifies nothing old", async () => {
    expect(await read(await capability(), withKeys(`k1:${key(3)}`))).toEqual([401, "invalid-token"]);
  });

  it("are named when they are wrong, and never shown", async () => {
    const answer = await fetchFrom(withKeys("secret-without-a-kid"), "/v1/datasets");
    expect(outcome(answer)).toEqual([500, "misconfigured"]);
    expect(answer.text).toContain("MASTER_KEYS");
    expect(answer.text).not.toContain("secret-without-a-kid");
  });
});
