import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import type { DatasetConfig } from "../../workers/core/manifest/dataset.ts";
import { api, apiTokens, LIMITED, READER } from "./harness/api.ts";
import { must } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";

const LINE = "PATCH /v1/datasets/era5";
const source = { name: "test", prefix: "era5/" };
const body = { kind: "files", prefix: "era5/", source, read: "through", schedule: "0 3 * * *", liveTtlSeconds: 60 };
let seen: Env;

beforeAll(async () => {
  seen = envWith("plain", await apiTokens("another"));
});

const put = (more: object = {}, line = "PUT /v1/datasets/era5") => api<DatasetConfig>(seen, line, { ...body, ...more });
const patch = (changes: unknown, token?: string) => api<DatasetConfig & { code?: string }>(seen, LINE, changes, token);
const scheduleOf = async (name: string) =>
  (await directoryOf(env).schedules()).find((entry) => entry.name === name)?.schedule ?? null;

describe("PATCH /v1/datasets/:dataset", () => {
  it("changes what is named and leaves all else as it is", async () => {
    const { body: before } = await put();
    let expected: object = before;
    for (const change of [
      { read: "r2" },
      { liveTtlSeconds: 0 },
      { schedule: "*/5 * * * *" },
      { schedule: null },
      { source: { name: "test", prefix: "moved/" } },
      { read: "source", liveTtlSeconds: 3600 },
      {},
    ]) {
      const answer = await patch(change);
      expected = { ...expected, ...change, updatedAt: answer.body.updatedAt };
      expect(answer).toMatchObject({ status: 200, body: expected });
      expect(answer.body).toEqual(must(await datasetOf(env, "era5").config()));
      expect(await scheduleOf("era5")).toBe(answer.body.schedule);
    }
    expect((await api(seen, "GET /v1/datasets/era5")).body).toMatchObject(expected);
  });

  it("takes the source away by null, where reads need none, and gives another", async () => {
    await put();
    const needsSource = { status: 400, body: { code: "invalid-body", field: "read" } };
    expect(await patch({ source: null })).toMatchObject(needsSource);
    const without = await patch({ source: null, read: "r2" });
    expect([without.status, "source" in without.body]).toEqual([200, false]);
    expect(await patch({ read: "through" })).toMatchObject(needsSource);
    expect(await patch({ read: "through", source })).toMatchObject({ status: 200, body: { read: "through", source } });
  });

  it.each([
    [{ bucket: "DATASETS" }, 409, "dataset-fixed", "bucket"],
    [{ prefix: "era5/", read: "r2" }, 409, "dataset-fixed", "prefix"],
    [{ kind: null }, 409, "dataset-fixed", "kind"],
    [{ colour: "red" }, 400, "invalid-body", "colour"],
    [{ source: { ...source, region: "r" } }, 400, "invalid-body", "source.region"],
    [{ source: { name: "nowhere", prefix: "" } }, 404, "unknown-source", "source.name"],
    [{ source: { name: "test", prefix: "x" } }, 400, "invalid-body", "source.prefix"],
    [{ read: null }, 400, "invalid-body", "read"],
    [{ schedule: "every day" }, 400, "invalid-body", "schedule"],
    [{ schedule: "0 0 30 2 *" }, 400, "invalid-body", "schedule"],
    [{ liveTtlSeconds: "10" }, 400, "invalid-body", "liveTtlSeconds"],
    [{ liveTtlSeconds: 3601 }, 400, "invalid-body", "liveTtlSeconds"],
  ])("refuses %j with %i %s by the field %s, and changes nothing", async (changes, status, code, field) => {
    await put();
    const before = must(await datasetOf(env, "era5").config());
    expect(await patch(changes)).toMatchObject({ status, body: { code, field } });
    expect(must(await datasetOf(env, "era5").config())).toEqual(before);
  });

  it("is for admins, of datasets that there are and that the token may touch", async () => {
    expect(await patch({ read: "r2" }, READER)).toMatchObject({ status: 403, body: { code: "forbidden-role" } });
    expect(await patch({ read: "r2" }, LIMITED)).toMatchObject({ status: 403, body: { code: "out-of-scope" } });
    for (const name of ["era6", "-"]) {
      const answer = await api(seen, `PATCH /v1/datasets/${name}`, { read: "r2" });
      expect(answer).toMatchObject({ status: 404, body: { code: "unknown-dataset", field: "dataset" } });
    }
  });

  it("by a token that is limited to datasets leaves their sources as they are: these name any prefix of any source", async () => {
    await put();
    const limited = envWith("plain", await apiTokens("era5", "fresh"));
    const refused = { status: 403, body: { code: "out-of-scope", field: "source" } };
    const by = (line: string, sent: object) => api<DatasetConfig>(limited, line, sent, LIMITED);
    const others = [
      { name: "test", prefix: "" },
      { name: "test", prefix: "era5/2/" },
    ];
    for (const other of others) {
      expect(await by(LINE, { source: other })).toMatchObject(refused);
      expect(await by("PUT /v1/datasets/era5", { ...body, source: other })).toMatchObject(refused);
    }
    const { source: _, ...without } = { ...body, read: "r2" };
    expect(await by(LINE, { source: null, read: "r2" })).toMatchObject(refused);
    expect(await by("PUT /v1/datasets/era5", without)).toMatchObject(refused);
    expect(await by("PUT /v1/datasets/fresh", { ...body, prefix: "fresh/" })).toMatchObject(refused);
    expect((await api(seen, "GET /v1/datasets/fresh")).status).toBe(404);
    expect(must(await datasetOf(env, "era5").config()).source).toEqual(source);

    const changed = { status: 200, body: { liveTtlSeconds: 5, source } };
    expect(await by(LINE, { source, liveTtlSeconds: 5 })).toMatchObject(changed);
    expect(await by("PUT /v1/datasets/era5", { ...body, liveTtlSeconds: 5 })).toMatchObject(changed);
    expect(await by("PUT /v1/datasets/fresh", { ...without, prefix: "fresh/" })).toMatchObject({ status: 201 });
    expect(await by("PATCH /v1/datasets/fresh", { source })).toMatchObject(refused);
  });

  it("beside a PUT and other PATCHes loses none of what they write, and the cron goes by what is kept", async () => {
    for (let round = 0; round < 20; round++) {
      await put({ schedule: null, liveTtlSeconds: 1, read: "r2" });
      const minute = `${round} * * * *`;
      await Promise.all([
        patch({ schedule: minute }),
        put({ schedule: "0 0 * * *", liveTtlSeconds: 2, read: "source" }),
        patch({ liveTtlSeconds: 3 }),
        patch({ read: "through" }),
      ]);
      const { schedule, liveTtlSeconds, read } = must(await datasetOf(env, "era5").config());
      expect([minute, "0 0 * * *"]).toContain(schedule);
      expect([2, 3]).toContain(liveTtlSeconds);
      expect(["source", "through"]).toContain(read);
      expect(await scheduleOf("era5")).toBe(schedule);
    }
  });

  it("of different fields at once keeps them all", async () => {
    await put({ schedule: null, liveTtlSeconds: 1, read: "r2" });
    await Promise.all([patch({ schedule: "7 * * * *" }), patch({ liveTtlSeconds: 7 }), patch({ read: "through" })]);
    const kept = must(await datasetOf(env, "era5").config());
    expect(kept).toMatchObject({ schedule: "7 * * * *", liveTtlSeconds: 7, read: "through" });
    expect(await scheduleOf("era5")).toBe("7 * * * *");
  });

  it("settles what the cron goes by where a slow PUT tells the Directory last", async () => {
    await put({ schedule: null });
    // Its own first word to the Directory is held back until the PATCH is done.
    const namespace = {
      getByName: (name: string) =>
        new Proxy(env.DATASET.getByName(name), {
          get(stub, property) {
            const value = Reflect.get(stub, property) as (...args: unknown[]) => Promise<unknown>;
            if (property !== "configure") return value;
            return async (...args: unknown[]) => {
              await patch({ schedule: "1 1 * * *" });
              return value(...args);
            };
          },
        }),
    };
    const slow = { ...seen, DATASET: namespace as unknown as typeof env.DATASET };
    await api(slow, "PUT /v1/datasets/era5", { ...body, schedule: "2 2 * * *" });
    expect(must(await datasetOf(env, "era5").config()).schedule).toBe("2 2 * * *");
    expect(await scheduleOf("era5")).toBe("2 2 * * *");
  });
});
