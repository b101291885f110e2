import { createHash, createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { webHmac } from "../../workers/adapters/web-hmac.ts";
import { jobCredentials } from "../../workers/core/jobs/credentials.ts";
import { jobBodySchema } from "../../workers/core/jobs/request.ts";
import { accountOf, mintTemporaryCredentials } from "../../workers/core/sigv4/temporary-credentials.ts";

const account = "023e105f4ecef8ad9ca31a8372d0c353";
const parent = {
  endpoint: `https://${account}.r2.cloudflarestorage.com`,
  accessKeyId: "parent-access-key",
  secretAccessKey: "parent-secret".repeat(3),
};
const now = Date.UTC(2026, 10, 22, 12);
const nowSeconds = now / 1000;

/** What RFC 7515 and RFC 7518 say of a compact JWS, by Node's own cryptography. */
function verified(sessionToken: string, secret: string): { header: unknown; claims: Record<string, unknown> } {
  const text = Buffer.from(sessionToken, "base64").toString();
  expect(text).toMatch(/^jwt\//);
  const [header = "", claims = "", signature = "", ...rest] = text.slice(4).split(".");
  expect(rest).toEqual([]);
  expect(signature).toBe(createHmac("sha256", secret).update(`${header}.${claims}`).digest("base64url"));
  const decoded = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;
  return { header: decoded(header), claims: decoded(claims) };
}

describe("temporary credentials", () => {
  it("are the documentation's example: two actions of a scope below a prefix, for 15 minutes", async () => {
    const grant = {
      scope: "object-read-only" as const,
      actions: ["GetObject", "HeadObject"] as const,
      prefixPaths: ["data/"],
      objectPaths: [],
    };
    const minted = await mintTemporaryCredentials(
      webHmac,
      { ...parent, accountId: account },
      "my-bucket",
      grant,
      nowSeconds,
      900,
    );
    const { header, claims } = verified(minted?.sessionToken ?? "", parent.secretAccessKey);
    expect(header).toEqual({ alg: "HS256", typ: "JWT" });
    expect(claims).toEqual({
      bucket: "my-bucket",
      scope: "object-read-only",
      actions: ["GetObject", "HeadObject"],
      paths: { prefixPaths: ["data/"], objectPaths: [] },
      sub: account,
      iss: "parent-access-key",
      aud: `${account}.r2.cloudflarestorage.com`,
      iat: nowSeconds,
      exp: nowSeconds + 900,
    });
    const jwt = Buffer.from(minted?.sessionToken ?? "", "base64")
      .toString()
      .slice(4);
    expect(minted?.accessKeyId).toBe("parent-access-key");
    expect(minted?.secretAccessKey).toBe(createHash("sha256").update(jwt).digest("hex"));
  });

  it("are never minted without a path, for then R2 would open the whole bucket", async () => {
    const grant = {
      scope: "object-read-only" as const,
      actions: ["GetObject"] as const,
      prefixPaths: [],
      objectPaths: [],
    };
    const of = { ...parent, accountId: account };
    expect(await mintTemporaryCredentials(webHmac, of, "b", grant, nowSeconds, 900)).toBeNull();
  });

  it.each([
    [`https://${account}.r2.cloudflarestorage.com`, account],
    [`https://${account}.eu.r2.cloudflarestorage.com`, account],
    [`https://${account}.fedramp.r2.cloudflarestorage.com/`, account],
    ["http://127.0.0.1:8787/cdn-cgi/local/r2/s3", null],
    ["https://r2.cloudflarestorage.com", null],
    [`https://${account}.r2.cloudflarestorage.com.evil.example`, null],
    [`https://${account}.r2xcloudflarestorage.com`, null],
  ])("belong to the account of the endpoint %s", (endpoint, expected) => expect(accountOf(endpoint)).toBe(expected));
});

describe("a job's credentials", () => {
  const specOf = (input: object, more: { outputPrefix?: string; expiresAt?: number; prefix?: string } = {}) => ({
    ...jobBodySchema.parse({ name: "unet", dataset: "era5@1", input }),
    prefix: "era5/",
    expiresAt: now + 86_400_000,
    ...more,
  });
  const mint = (spec: ReturnType<typeof specOf>, more: Partial<typeof parent> = {}) =>
    jobCredentials(webHmac, { ...parent, ...more }, "datasets", spec, now);
  const claimsOf = (set: { sessionToken: string } | null) =>
    verified(set?.sessionToken ?? "", parent.secretAccessKey).claims;

  it("read below the input's prefixes and arrays, and its keys, and write below its output prefix: by action", async () => {
    const input = { prefixes: ["t2m/"], keys: ["a b.bin"], records: ["train.jsonl"], zarr: [{ path: "sst" }] };
    const { read, write, note } = await mint(specOf(input, { outputPrefix: "runs/1/" }));
    expect(note).toBeNull();
    expect(claimsOf(read)).toMatchObject({
      bucket: "datasets",
      scope: "object-read-only",
      actions: ["HeadObject", "GetObject", "ListObjectsV1", "ListObjectsV2"],
      paths: { prefixPaths: ["era5/t2m/", "era5/sst/"], objectPaths: ["era5/a b.bin", "era5/train.jsonl"] },
    });
    expect(claimsOf(write)).toMatchObject({
      bucket: "datasets",
      scope: "object-read-write",
      paths: { prefixPaths: ["era5/runs/1/"], objectPaths: [] },
    });
    const actions = claimsOf(write).actions as string[];
    expect(actions).toContain("PutObject");
    expect(actions.filter((action) => /Delete|Copy|Get|List/.test(action))).toEqual([]);
    expect(read).toMatchObject({ prefixes: ["era5/t2m/", "era5/sst/"], keys: ["era5/a b.bin", "era5/train.jsonl"] });
  });

  it.each([
    [86_400, 3600],
    [3601, 3600],
    [600, 600],
    [1, 1],
  ])("of a job that lives %i s more live %i s: an hour, and not beyond the job", async (left, life) => {
    const spec = specOf({ prefixes: ["t2m/"] }, { expiresAt: now + left * 1000 });
    const { read } = await mint(spec);
    expect(read?.expiresAt).toBe(now + life * 1000);
    expect(claimsOf(read)).toMatchObject({ iat: nowSeconds, exp: nowSeconds + life });
  });

  it("leave out what only a glob matches, and say so; of globs alone there are none to read with", async () => {
    const some = await mint(specOf({ prefixes: ["t2m/"], globs: ["sst/**"] }));
    expect(claimsOf(some.read)).toMatchObject({ paths: { prefixPaths: ["era5/t2m/"], objectPaths: [] } });
    expect(some.note).toMatch(/glob/);
    const none = await mint(specOf({ globs: ["sst/**"] }));
    expect([none.read, none.write]).toEqual([null, null]);
    expect(none.note).toMatch(/glob/);
  });

  it("leave out keys that do not fit a header, and say so", async () => {
    const keys = Array.from({ length: 1000 }, (_, n) => `chunks/${n}`);
    const { read, note } = await mint(specOf({ prefixes: ["t2m/"], keys }));
    expect(claimsOf(read)).toMatchObject({ paths: { prefixPaths: ["era5/t2m/"], objectPaths: [] } });
    expect(read?.sessionToken.length).toBeLessThan(8192);
    expect(note).toMatch(/do not fit/);
    const alone = await mint(specOf({ keys }));
    expect([alone.read, alone.note]).toEqual([null, expect.stringMatching(/do not fit/)]);
  });

  it("are not there where the endpoint is not R2's, and the note says why", async () => {
    const { read, write, note } = await mint(specOf({ prefixes: ["t2m/"] }), { endpoint: "http://127.0.0.1:8787/s3" });
    expect([read, write]).toEqual([null, null]);
    expect(note).toMatch(/R2_ENDPOINT/);
  });
});
