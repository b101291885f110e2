import { createHash, randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeBase64Url } from "../../workers/core/capability/jwt.ts";
import { type Client, createClient } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { claimsIn, type Masters, signAs } from "../reference/capability.ts";
import { dataRequests } from "./data-requests.ts";
import { type InstanceSecrets, startFreshInstance } from "./fresh-instance.ts";
import { RESOLVED, TRICKS } from "./path-tricks.ts";
import { type RawAnswer, send } from "./raw-http.ts";
import { type DataRequest, expectPredicted, type ModelDataset, type ModelObject, predict } from "./read-model.ts";
import { storeObject } from "./stored-object.ts";

/** Requests that are sent at once, so that reads share what they wait for; and how often. */
const AT_ONCE = 3;
const TIMES = 400;

/** Keys of which one is another's misreading, by their size in bytes. The largest is streamed, the next is in blocks. */
const KEYS: Record<string, number> = {
  ...{ "zarr.json": 300, "in/0": 5000, "in/empty": 0, "in/one": 1, "in/blocks": 2_100_003, "in/stream": 8_400_001 },
  ...{ "in/a/b": 40, "in/a%2Fb": 41, "in/a%252Fb": 42, "in/a\\b": 43, "in/a;b": 44, "in/a b": 45, "in/a+b": 46 },
  ...{ "in/%2e%2e/secret": 50, "in/../secret": 51, "in/./0": 52, "in//b": 53, "in/": 54, "in/dir": 55, "in/dir/": 56 },
  ...{ "in/caf\u00e9": 60, "in/100%": 61, "in/hash#x": 62, "in/q?key=zarr.json": 63, "in/a&key=secret": 64 },
  // Outside of the scope of the narrow capability.
  ...{ secret: 70, "in-private/0": 71, in: 72, "..": 73, ".": 74, "/in/0": 75, "zarr.json2": 76 },
};
/**
 * Datasets of the same keys with other bytes, the first one's name the beginning of the second's. What `open` holds is
 * remembered once it was seen; of `fresh` every read is a look at the store.
 */
const LIVE_TTL_SECONDS = { open: 3600, "open-private": 3600, fresh: 0 };
type Name = keyof typeof LIVE_TTL_SECONDS;
const NAMES = Object.keys(LIVE_TTL_SECONDS) as Name[];

let instance: Instance & { secrets: InstanceSecrets };
let admin: Client;
let masters: Masters;
let kid = "";
const datasets = new Map<string, ModelDataset>();
const now = () => Date.now();

async function storeDataset(name: Name): Promise<void> {
  await admin.call("PUT", `/v1/datasets/${name}`, {
    kind: "files",
    prefix: `${name}/`,
    liveTtlSeconds: LIVE_TTL_SECONDS[name],
  });
  const minted = await admin.call<{ capability: string }>("POST", `/v1/datasets/${name}/capabilities`, {
    prefixes: [""],
  });
  const objects = new Map<string, ModelObject>();
  for (const [key, size] of Object.entries(KEYS)) {
    const bytes = randomBytes(size);
    await storeObject(instance, `${name}/${key}`, bytes);
    const query = `key=${encodeURIComponent(key)}&token=${minted.capability}`;
    const head = await send(`${instance.url}/d/${name}?${query}`, { method: "HEAD" });
    const lastModified = Date.parse(head.headers["last-modified"] ?? "");
    objects.set(key, { bytes, etag: createHash("md5").update(bytes).digest("hex"), lastModified });
  }
  datasets.set(name, { id: String(claimsIn(minted.capability)["ds"]), prefix: `${name}/`, objects });
}

/** A capability signed here, right or wrong, with the instance's own key. */
function capability(name: Name, change: Record<string, unknown> = {}, header: Record<string, unknown> = {}): string {
  const seconds = Math.floor(now() / 1000);
  const claims = {
    ...{ ds: datasets.get(name)?.id, name, ver: "live", pfx: [""], keys: [], ops: ["read"] },
    ...{ job: null, nbf: seconds - 600, exp: seconds + 86_400, jti: "cap_fuzz", ...change },
  };
  const master = masters[kid] ?? new Uint8Array();
  return signAs(master, "penstock/cap/v1", { alg: "HS256", kid, typ: "cap", ...header }, claims);
}
const NARROW = { pfx: ["in/"], keys: ["zarr.json"] };

beforeAll(async () => {
  instance = await startFreshInstance({ name: "e2e-fuzz-reads" });
  admin = createClient(instance.url, instance.tokens.admin);
  const [name = "", key = ""] = instance.secrets.masterKeys.split(":");
  kid = name;
  masters = { [kid]: decodeBase64Url(key) ?? new Uint8Array() };
  for (const dataset of NAMES) await storeDataset(dataset);
  // Beside the datasets, where a prefix that is not one would reach.
  for (const stray of ["open", "secret", "openly/0", "zarr.json"]) await storeObject(instance, stray, randomBytes(64));
});

afterAll(() => instance?.stop());

/** Requests for one of the datasets, by capabilities that open it, and by such as do not. */
function requestsOf(name: Name): fc.Arbitrary<DataRequest> {
  const seconds = Math.floor(now() / 1000);
  const claims = [
    ...[{ name: "gone" }, { ds: "ds_1" }, { ver: "7" }, { ops: ["head"] }, { ops: ["write"] }, { pfx: ["in"] }],
    ...[{ exp: seconds - 3600 }, { nbf: seconds + 3600 }],
  ];
  const wrong = [
    ...NAMES.filter((other) => other !== name).map((other) => capability(other)),
    ...claims.map((change) => capability(name, change)),
    ...[{ alg: "none" }, { typ: "job" }, { kid: "k9" }].map((change) => capability(name, {}, change)),
    ...["", "garbage", "a.b.c", instance.tokens.admin, "A".repeat(5000)],
  ];
  const objects = datasets.get(name)?.objects ?? new Map<string, ModelObject>();
  return dataRequests({ name, others: NAMES, objects, right: [capability(name), capability(name, NARROW)], wrong });
}

async function read(asked: DataRequest): Promise<RawAnswer> {
  return send(`${instance.url}${asked.path}`, { method: asked.method, headers: { ...asked.headers } });
}

describe("a request, however it is made up", () => {
  it(
    `is answered as the model says, ${(AT_ONCE * TIMES).toLocaleString("en")} times over`,
    { timeout: 600_000 },
    async () => {
      const request = fc.oneof(requestsOf("open"), requestsOf("fresh"));
      const seen = new Set<number>();
      await fc.assert(
        fc.asyncProperty(fc.array(request, { minLength: AT_ONCE, maxLength: AT_ONCE }), async (together) => {
          const answers = await Promise.all(together.map(read));
          for (const [index, answer] of answers.entries()) {
            const asked = together[index] as DataRequest;
            seen.add(answer.status);
            expectPredicted(asked, predict(asked, datasets, masters, now()), answer);
          }
        }),
        { numRuns: TIMES },
      );
      // All that can be answered was, so that no part of the model went untried.
      expect([...seen]).toEqual(expect.arrayContaining([200, 204, 206, 304, 400, 401, 403, 404, 405, 412, 416]));
    },
  );

  it(
    "brings the right bytes on the first read of an object that nobody has looked at",
    { timeout: 600_000 },
    async () => {
      const token = capability("fresh");
      const sizes = fc.constantFrom(0, 1, 5000, 1_048_576, 1_048_577, 2_100_003, 8_400_001);
      const edges = ["", "0", "1", "262143", "1048576", "9007199254740991", "9007199254740993", "9".repeat(30)];
      const end = fc.oneof(fc.constantFrom(...edges), fc.nat(2_200_000).map(String));
      let stored = 0;
      await fc.assert(
        fc.asyncProperty(sizes, end, end, async (size, first, last) => {
          const bytes = randomBytes(size);
          const key = `first/${++stored}`;
          await storeObject(instance, `fresh/${key}`, bytes);
          const object = { bytes, etag: createHash("md5").update(bytes).digest("hex"), lastModified: 0 };
          const fresh = { ...(datasets.get("fresh") as ModelDataset), objects: new Map([[key, object]]) };
          const asked = {
            method: "GET",
            path: `/t/${token}/fresh/${key}`,
            headers: { range: `bytes=${first}-${last}` },
          };
          expectPredicted(asked, predict(asked, new Map([["fresh", fresh]]), masters, now()), await read(asked));
        }),
        { numRuns: 60 },
      );
    },
  );
});

describe("a path that plays a trick", () => {
  it.each(TRICKS.map(([path, expected]) => [path.slice(0, 40), path, expected] as const))(
    "%s names one key, or is a 400",
    async (_, path, expected) => {
      for (const name of ["open", "fresh"] as const) {
        const answer = await send(`${instance.url}/t/${capability(name)}/${name}${path}`);
        if (typeof expected === "string") {
          const object = datasets.get(name)?.objects.get(expected);
          expect([answer.status, answer.bytes.equals(object?.bytes ?? Buffer.alloc(0))]).toEqual([200, true]);
        } else {
          const { code } = JSON.parse(answer.bytes.toString()) as { code: string };
          expect([answer.status, code]).toEqual([400, expected.refused]);
        }
      }
    },
  );

  it.each(RESOLVED.map(([path, key]) => [path.slice(0, 40), path, key] as const))(
    "%s is what every URL parser makes of it, or a refusal",
    async (_, path, key) => {
      for (const scope of [{}, NARROW]) {
        const { status, bytes } = await send(`${instance.url}/t/${capability("open", scope)}/open${path}`);
        const isCovered = key !== null && (scope !== NARROW || key.startsWith("in/"));
        const object = isCovered ? datasets.get("open")?.objects.get(key) : undefined;
        if (status === 200) expect(bytes.equals(object?.bytes ?? Buffer.from("nothing"))).toBe(true);
        else expect([400, 401, 403, 404, 414, 431]).toContain(status);
        // Only an object may be missing on the data plane, and this one is there.
        if (status === 404) expect(path).toContain("/../");
      }
    },
  );
});

it("nothing of all this was an error of ours", () => {
  expect(instance.logs()).not.toMatch(/read failed|request failed|Uncaught/);
});
