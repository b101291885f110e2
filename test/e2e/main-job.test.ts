import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Client, createClient, followMigration, type Migration } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { fillSource, type Source, startLocalSource } from "../harness/local-source.ts";
import { startFreshInstance } from "./fresh-instance.ts";

const MiB = 1024 * 1024;
const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex");

/** Twelve small objects, an empty one, and one that is uploaded in parts and copied in parts. */
const objects = new Map<string, { bytes: Uint8Array<ArrayBuffer>; contentType: string; partBytes?: number }>([
  ...Array.from({ length: 12 }, (_, n): [string, { bytes: Uint8Array<ArrayBuffer>; contentType: string }] => [
    `chunks/c/${n}`,
    { bytes: Uint8Array.from(randomBytes(1000 + n)), contentType: "application/octet-stream" },
  ]),
  ["chunks/zarr.json", { bytes: new TextEncoder().encode('{"zarr_format":3}'), contentType: "application/json" }],
  ["empty", { bytes: new Uint8Array(0), contentType: "text/plain" }],
  [
    "large.bin",
    {
      bytes: Uint8Array.from(randomBytes(12 * MiB + 1)),
      contentType: "application/octet-stream",
      partBytes: 5 * MiB,
    },
  ],
]);
const bytesOf = (key: string) => objects.get(key)?.bytes ?? new Uint8Array(0);

interface ManifestObject {
  key: string;
  size: number;
  etag: string;
  proof: string | null;
}

let source: Source & { stop(): Promise<void> };
let instance: Instance;
let admin: Client;

beforeAll(async () => {
  source = await startLocalSource();
  await fillSource(
    source,
    [...objects].map(([key, object]) => ({ key: `cubes/precip/${key}`, ...object })),
  );
  instance = await startFreshInstance({
    name: "e2e-main-job",
    sources: { local: source },
    vars: { MULTIPART_THRESHOLD_BYTES: String(8 * MiB), PART_BYTES: String(5 * MiB) },
  });
  admin = createClient(instance.url, instance.tokens.admin);
});

afterAll(async () => {
  await instance?.stop();
  await source?.stop();
});

const wholeManifest = async (dataset: string, limit: number): Promise<ManifestObject[][]> => {
  const pages: ManifestObject[][] = [];
  for (let cursor: string | undefined = ""; cursor !== undefined;) {
    const after: string = cursor === "" ? "" : `&cursor=${cursor}`;
    const path = `/v1/datasets/${dataset}/manifest?limit=${limit}${after}`;
    const page = await admin.call<{ objects: ManifestObject[]; cursor?: string }>("GET", path);
    pages.push(page.objects);
    cursor = page.cursor;
  }
  return pages;
};

describe("from source to R2", () => {
  it("checks the source in three steps", async () => {
    const check = await admin.call("POST", "/v1/sources/local/check");
    expect(check).toMatchObject({
      ok: true,
      steps: [
        { step: "sign-in", ok: true },
        { step: "list", ok: true },
        { step: "read", ok: true },
      ],
    });
  });

  it("registers a dataset with 201, and the same again with 200 and the same id", async () => {
    const body = { kind: "zarr", prefix: "precip/", source: { name: "local", prefix: "cubes/precip/" } };
    const put = (client: typeof fetch) =>
      client(`${instance.url}/v1/datasets/precip`, {
        method: "PUT",
        headers: { authorization: `Bearer ${instance.tokens.admin}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    const [first, second] = [await put(fetch), await put(fetch)];
    expect([first.status, second.status]).toEqual([201, 200]);
    const { id } = (await first.json()) as { id: string };
    expect(id).toMatch(/^ds_[0-9A-Z]{26}$/);
    expect(await second.json()).toMatchObject({ id });
  });

  it("migrates every object, small ones whole and the large one in parts", async () => {
    const started = await admin.call<Migration>("POST", "/v1/migrations", { dataset: "precip" });
    const done = await followMigration(admin, started.id);
    const bytes = [...objects.values()].reduce((sum, object) => sum + object.bytes.length, 0);
    expect(done).toMatchObject({
      state: "done",
      listed: { objects: objects.size, bytes, complete: true },
      copied: { objects: objects.size, bytes },
      skipped: { objects: 0 },
      failed: { objects: 0 },
      failures: [],
      problem: null,
      secondsLeft: 0,
    });
    expect(done.proofs["md5"]).toBe(objects.size - 1);
    expect(Object.values(done.proofs).reduce((sum, n) => sum + n, 0)).toBe(objects.size);
  });

  it("pages through the manifest by cursor to the end, each object once and in order", async () => {
    const pages = await wholeManifest("precip", 4);
    expect(pages.map((page) => page.length)).toEqual([4, 4, 4, 3]);
    const rows = pages.flat();
    expect(rows.map(({ key }) => key)).toEqual([...objects.keys()].sort());
    for (const { key, size } of rows) expect([key, size]).toEqual([key, bytesOf(key).length]);
    expect(rows.find(({ key }) => key === "chunks/c/0")).toMatchObject({ etag: md5(bytesOf("chunks/c/0")) });
  });

  it("skips everything when migrated again", async () => {
    const started = await admin.call<Migration>("POST", "/v1/migrations", { dataset: "precip" });
    expect(await followMigration(admin, started.id)).toMatchObject({
      state: "done",
      copied: { objects: 0 },
      skipped: { objects: objects.size },
    });
  });

  it("tells of a migration as it goes, by events that nobody on the way holds back", async () => {
    const { id } = await admin.call<Migration>("POST", "/v1/migrations", { dataset: "precip" });
    const path = `/v1/migrations/${id}`;
    // Before the listing has ended, or, where that was quick, after the end: then there is nothing to hold back.
    const paused = await admin.call("POST", `${path}/pause`).catch(() => null);
    const headers = { authorization: `Bearer ${instance.tokens.read}`, "accept-encoding": "gzip, br" };
    const response = await fetch(`${instance.url}${path}/events`, { headers });
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    expect(response.headers.get("content-encoding")).toBeNull();
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let heard = "";
    const until = async (event: string) => {
      while (!heard.includes(`event: ${event}\n`)) {
        const { done, value } = (await reader?.read()) ?? {};
        if (done !== false) throw new Error(`The events ended: ${heard}`);
        heard += value;
      }
    };
    await until("status");
    if (paused !== null) {
      expect(heard).toContain('"state":"paused"');
      await admin.call("POST", `${path}/resume`);
    }
    await until("end");
    expect(heard).toContain('"state":"done"');
  });

  it("reports a line an object", async () => {
    const { migrations } = await admin.call<{ migrations: { id: string }[] }>("GET", "/v1/migrations");
    const headers = { authorization: `Bearer ${instance.tokens.read}` };
    const outcomesOf = async ({ id }: { id: string }) => {
      const response = await fetch(`${instance.url}/v1/migrations/${id}/report`, { headers });
      expect(response.headers.get("x-penstock-complete")).toBe("true");
      const lines = (await response.text()).split("\n").slice(0, -1);
      const parsed = lines.map((line) => JSON.parse(line) as { key: string; outcome: string });
      expect(parsed.map(({ key }) => key).sort()).toEqual([...objects.keys()].sort());
      return [...new Set(parsed.map(({ outcome }) => outcome))];
    };
    const [first, second] = migrations;
    if (first === undefined || second === undefined) throw new Error("There were two migrations.");
    expect([await outcomesOf(first), await outcomesOf(second)]).toEqual([["copied"], ["same"]]);
  });

  it("serves every byte by a capability that the read role asked for", async () => {
    const reader = createClient(instance.url, instance.tokens.read);
    const read = await reader.call<{ rootUrl: string }>("POST", "/v1/datasets/precip/capabilities", { prefixes: [""] });
    for (const [key, { bytes, contentType }] of objects) {
      const response = await fetch(`${read.rootUrl}${key}`);
      expect([key, response.status, response.headers.get("content-type")]).toEqual([key, 200, contentType]);
      expect(md5(new Uint8Array(await response.arrayBuffer()))).toBe(md5(bytes));
    }
  });
});

describe("the cron", () => {
  const migrations = async () =>
    (await admin.call<{ migrations: { id: string; dataset: string }[] }>("GET", "/v1/migrations?limit=1000"))
      .migrations;

  it("starts a due dataset's migration, which copies exactly what was added; a tick with nothing due starts nothing", async () => {
    const schedule = { schedule: "* * * * *" };
    const dataset = { kind: "zarr", prefix: "precip/", source: { name: "local", prefix: "cubes/precip/" } };
    await admin.call("PUT", "/v1/datasets/precip", { ...dataset, ...schedule });
    const before = await migrations();
    const added = { bytes: new TextEncoder().encode("one more"), contentType: "text/plain" };
    await fillSource(source, [{ key: "cubes/precip/chunks/c/12", ...added }]);

    const at = Date.now() + 61_000;
    await instance.cron(at);
    const after = await migrations();
    expect(after).toHaveLength(before.length + 1);
    const started = after.find(({ id }) => before.every((known) => known.id !== id));
    expect(await followMigration(admin, started?.id ?? "")).toMatchObject({
      state: "done",
      listed: { objects: objects.size + 1 },
      copied: { objects: 1, bytes: 8 },
      skipped: { objects: objects.size },
      failed: { objects: 0 },
    });
    await instance.cron(at);
    expect(await migrations()).toHaveLength(after.length);
  });
});
