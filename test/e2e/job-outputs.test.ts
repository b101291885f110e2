import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type Client, createClient, followMigration, type Migration } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { fillSource, type Source, startLocalSource } from "../harness/local-source.ts";
import { startFreshInstance } from "./fresh-instance.ts";

const MiB = 1024 * 1024;
const PART_BYTES = 5 * MiB;
const large = Uint8Array.from(randomBytes(2 * PART_BYTES + 1000));
const digest = (algorithm: string, bytes: Uint8Array) => createHash(algorithm).update(bytes).digest("hex");

interface Signed {
  url: string;
  headers: Record<string, string>;
}
interface Part extends Signed {
  number: number;
  size: number;
}
interface Announced {
  outputs: (Signed & { key: string; upload: string; partSize: number; partCount: number; parts: Part[] })[];
}
interface Committed {
  outputs: { key: string; size: number; etag: string; sha256: string | null }[];
  checkpoint: { name: string } | null;
}
interface Checkpoint {
  name: string;
  outputs: (Signed & { key: string; etag: string })[];
}

let source: Source & { stop(): Promise<void> };
let instance: Instance;
let admin: Client;
let node: Client;
let root = "";
const post = <T>(route: string, body: object) => node.call<T>("POST", `${root}/${route}`, body);
const put = ({ url, headers }: Signed, bytes: Uint8Array<ArrayBuffer>) =>
  fetch(url, { method: "PUT", headers, body: bytes });
const listed = async (prefix: string) => {
  const page = await admin.call<{ objects: Record<string, unknown>[] }>(
    "GET",
    `/v1/datasets/out/manifest?prefix=${prefix}`,
  );
  return page.objects;
};

beforeAll(async () => {
  source = await startLocalSource();
  await fillSource(source, [{ key: "in/a", bytes: Uint8Array.from([1]), contentType: "application/octet-stream" }]);
  const vars = { PART_BYTES: String(PART_BYTES) };
  instance = await startFreshInstance({ name: "e2e-job-outputs", sources: { local: source }, vars });
  admin = createClient(instance.url, instance.tokens.admin);
  const dataset = { kind: "files", prefix: "out/", source: { name: "local", prefix: "" } };
  await admin.call("PUT", "/v1/datasets/out", dataset);
  const started = await admin.call<Migration>("POST", "/v1/migrations", { dataset: "out" });
  expect(await followMigration(admin, started.id)).toMatchObject({ state: "done", copied: { objects: 1 } });
  const submit = createClient(instance.url, instance.tokens.submit);
  const job = await submit.call<{ id: string; token: string }>("POST", "/v1/jobs", {
    ...{ name: "outputs", dataset: "out", input: { prefixes: ["in/"] }, outputPrefix: "runs/" },
  });
  node = createClient(instance.url, job.token);
  root = `/v1/jobs/${job.id}`;
});
afterAll(async () => {
  await instance?.stop();
  await source?.stop();
});

describe("outputs by presigned URLs of the store itself", () => {
  it("are put once, as announced, and are in the manifest when they are committed", async () => {
    const bytes = Uint8Array.from(randomBytes(1000));
    const sha256 = digest("sha256", bytes);
    const output = { key: "runs/a b+ü.bin", size: 1000, contentType: "application/x-a", sha256 };
    const { outputs } = await post<Announced>("outputs", { outputs: [output] });
    const signed: Signed = outputs[0] ?? { url: "", headers: {} };
    const { "content-length": _, ...unsized } = signed.headers;
    expect((await put({ ...signed, headers: unsized }, bytes.slice(1))).status).toBe(403);
    expect((await put(signed, bytes)).status).toBe(200);
    expect((await put(signed, bytes)).status).toBe(412);
    expect(await listed("runs/")).toEqual([]);
    const done = await post<Committed>("outputs/commit", { outputs: [{ key: output.key }] });
    expect(done.outputs).toEqual([{ key: output.key, size: 1000, etag: digest("md5", bytes), sha256 }]);
    await vi.waitFor(
      async () =>
        expect(await listed("runs/")).toMatchObject([{ key: output.key, sha256, contentType: "application/x-a" }]),
      { timeout: 240_000, interval: 200 },
    );
  });

  it("go in parts of an upload that the binding has made, and a part of another size is refused by the store", async () => {
    const output = { key: "runs/large", size: large.length, multipart: true, sha256: digest("sha256", large) };
    const { outputs } = await post<Announced>("outputs", { outputs: [output], checkpoint: "step-1" });
    const { parts = [], partCount } = outputs[0] ?? {};
    expect(partCount).toBe(3);
    const bytesOf = ({ number, size }: Part) =>
      large.slice((number - 1) * PART_BYTES, (number - 1) * PART_BYTES + size);
    const last = parts[2];
    if (last === undefined) throw new Error("There is no third part.");
    expect((await put({ url: last.url, headers: {} }, large.slice(0, 999))).status).toBe(403);
    expect((await put({ url: last.url, headers: {} }, large.slice(0, 1001))).status).toBe(403);
    const fresh = await post<{ parts: Part[] }>("outputs/parts", { key: output.key, parts: [2] });
    const sent: { number: number; etag: string | null }[] = [];
    for (const part of [parts[0], ...fresh.parts, last].flatMap((each) => each ?? [])) {
      const answered = await put(part, bytesOf(part));
      expect(answered.status).toBe(200);
      sent.push({ number: part.number, etag: answered.headers.get("etag") });
    }
    const done = await post<Committed>("outputs/commit", {
      checkpoint: "step-1",
      outputs: [{ key: output.key, parts: sent }],
    });
    expect(done).toMatchObject({ outputs: [{ sha256: output.sha256 }], checkpoint: { name: "step-1" } });
    const latest = await node.call<Checkpoint>("GET", `${root}/checkpoints/latest`);
    expect(latest).toMatchObject({ name: "step-1", outputs: [{ key: output.key, size: large.length }] });
    const { url = "", headers = {} } = latest.outputs[0] ?? {};
    const read = await fetch(url, { headers });
    expect(digest("sha256", new Uint8Array(await read.arrayBuffer()))).toBe(output.sha256);
    expect((await fetch(url)).status).toBe(403);
    const reader = createClient(instance.url, instance.tokens.read);
    expect((await reader.call<Checkpoint>("GET", `${root}/checkpoints/step-1`)).outputs).toHaveLength(1);
  });
});
