import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FailureCode } from "../../workers/core/failure.ts";
import { createClient } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { type Source, startLocalSource } from "../harness/local-source.ts";
import { type InstanceSecrets, startFreshInstance } from "./fresh-instance.ts";
import { expectProblem } from "./problem.ts";
import { send } from "./raw-http.ts";
import { listStored, storeObject } from "./stored-object.ts";
import { WRONG_REQUESTS } from "./wrong-requests.ts";

let source: Source & { stop(): Promise<void> };
let instance: Instance & { secrets: InstanceSecrets };
let job = { id: "", token: "" };
let capability = "";

beforeAll(async () => {
  source = await startLocalSource();
  instance = await startFreshInstance({ name: "e2e-bad-input", sources: { local: source } });
  const admin = createClient(instance.url, instance.tokens.admin);
  await admin.call("PUT", "/v1/datasets/era5", { kind: "files", prefix: "era5/" });
  await storeObject(instance, "era5/in/0", Buffer.from("0"));
  await listStored(admin, "era5");
  const body = { name: "j", dataset: "era5", input: { prefixes: [""] } };
  job = await admin.call("POST", "/v1/jobs", { ...body, input: { prefixes: ["in/"] }, outputPrefix: "out/" });
  const scope = { prefixes: [""] };
  capability = (await admin.call<{ capability: string }>("POST", "/v1/datasets/era5/capabilities", scope)).capability;
});

afterAll(async () => {
  await instance?.stop();
  await source?.stop();
});

interface Sent {
  method: string;
  /** `JOB` stands for the job's id, `CAP` for the capability. */
  path: string;
  token?: string;
  type?: string | null;
  /** Without a Content-Length. */
  chunked?: boolean;
  body?: string | Uint8Array;
}
async function refused(
  { method, path, token, type = "application/json", chunked = false, body }: Sent,
  status: number,
  code: FailureCode,
  field?: string,
): Promise<void> {
  const answer = await send(`${instance.url}${path.replace("JOB", job.id).replace("CAP", capability)}`, {
    method,
    headers: {
      authorization: `Bearer ${token ?? (path.includes("/JOB/") ? job.token : instance.tokens.admin)}`,
      ...(body === undefined || type === null ? {} : { "content-type": type }),
      ...(chunked ? { "transfer-encoding": "chunked" } : {}),
    },
    ...(body === undefined ? {} : { body }),
  });
  const secrets = [...Object.values(instance.tokens), job.token, capability, instance.secrets.r2.secretAccessKey];
  expectProblem(answer, { status, code, ...(field === undefined ? {} : { field }) }, secrets);
}

/** Every route that takes a body, with one that it takes. */
const BODIES: [string, string, object][] = [
  ["PUT", "/v1/datasets/other", { kind: "files", prefix: "other/" }],
  ["POST", "/v1/datasets/era5/capabilities", { prefixes: [""] }],
  ["PATCH", "/v1/datasets/era5", { liveTtlSeconds: 10 }],
  ["POST", "/v1/migrations", { dataset: "era5" }],
  ["POST", "/v1/migrations/mig_00000000000000000000000000/verify", { deep: true }],
  ["POST", "/v1/jobs", { name: "j", dataset: "era5", input: { prefixes: [""] } }],
  ["POST", "/v1/jobs/JOB/heartbeat", { node: "n" }],
  ["POST", "/v1/jobs/JOB/urls", { method: "GET", keys: ["in/0"] }],
  ["POST", "/v1/jobs/JOB/finish", { outcome: "done" }],
];

describe.each(BODIES)("a body of %s %s", (method, path, right) => {
  it("that is not JSON in UTF-8, or not an object, is 400", async () => {
    const texts = ["{", "{'a':1}", "\u0000", "[]", "null", '"text"', "12", JSON.stringify([right])];
    for (const body of [...texts, Uint8Array.of(0x7b, 0xff, 0x7d)]) {
      await refused({ method, path, body }, 400, "invalid-body");
    }
  });

  it("of another Content-Type, or of none, is 415", async () => {
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", null]) {
      const body = JSON.stringify(right);
      await refused({ method, path, type, body }, 415, "unsupported-media-type");
    }
  });

  it("that is too large is 413, whether it says so or not", async () => {
    const limit = /\/(urls|finish)$/.test(path) ? 16 * 1024 * 1024 : 1024 * 1024;
    const body = new Uint8Array(limit + 1).fill(0x20);
    await refused({ method, path, body }, 413, "body-too-large");
    await refused({ method, path, body, chunked: true }, 413, "body-too-large");
  });

  it("with a field that is not there is 400, and names it", async () => {
    const body = JSON.stringify({ ...right, colour: "red" });
    await refused({ method, path, body }, 400, "invalid-body", "colour");
    const proto = JSON.stringify(right).replace(/}$/, ',"__proto__":{"admin":true}}');
    await refused({ method, path, body: proto }, 400, "invalid-body", "__proto__");
  });
});

const shown = (value: unknown) => (JSON.stringify(value) ?? "").replace(/(.{60}).+(.{20})/s, "$1…$2");

describe("what a route does not understand, it refuses by name", () => {
  it.each(WRONG_REQUESTS.map((row) => [row[0].slice(0, 60), shown(row[1]), ...row] as const))(
    "%s %s",
    async (_, __, route, body, status, code, field) => {
      const [method = "", path = ""] = route.split(" ");
      await refused(
        { method, path, ...(body === undefined ? {} : { body: JSON.stringify(body) }) },
        status,
        code,
        field,
      );
    },
  );
});

describe("a dataset's name", () => {
  const illegal = [
    "ERA5",
    "e".repeat(64),
    "-era5",
    "era_5",
    "era.5",
    "era%2F5",
    "era%205",
    "%C3%A9",
    "%00",
    "%E0%A4%A",
  ];

  it.each([...illegal, "e".repeat(3000)])("is refused when it is registered: %s", async (name) => {
    const body = JSON.stringify({ kind: "files", prefix: "fresh/" });
    await refused({ method: "PUT", path: `/v1/datasets/${name}`, body }, 400, "invalid-name", "dataset");
  });

  it.each([...illegal, "e".repeat(3000)])("names nothing when it is asked for: %s", async (name) => {
    await refused({ method: "GET", path: `/v1/datasets/${name}` }, 404, "unknown-dataset", "dataset");
    await refused({ method: "GET", path: `/v1/datasets/${name}/manifest` }, 404, "unknown-dataset", "dataset");
  });
});

it("nothing of all this was an error of ours", () => {
  expect(instance.logs()).not.toContain("request failed");
});
