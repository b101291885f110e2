import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { formatCursor } from "../../workers/gateway/paging.ts";
import { api, apiTokens } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";

let seen: Env;

beforeAll(async () => {
  seen = Object.assign({}, env, await apiTokens("mine"));
  const { seal } = await fillDataset(seen, "asked", "files", { "a/1": "1", "a b/1": "2", "a/2": "3" });
  await seal();
});

const refused = async (path: string) => {
  const { status, body } = await api(seen, `GET /v1/datasets${path}`);
  return [status, body["code"], body["field"]];
};

describe("a number in a query", () => {
  it.each([
    ["/asked/manifest", "limit"],
    ["/asked/manifest", "minSize"],
    ["/asked/manifest", "maxSize"],
    ["/asked/manifest", "changedSince"],
    ["/asked/manifest?sign=edge", "expiresSeconds"],
    ["", "limit"],
    ["/asked/versions", "limit"],
    ["/asked/versions/1", "expiresSeconds"],
    ["/asked/versions/1/exports/stac", "expiresSeconds"],
    ["/asked/records/a", "offset"],
    ["/asked/records/a", "limit"],
  ])("of %s is decimal digits: else %s is refused, by its name", async (path, field) => {
    for (const text of ["", "0x10", "1e1", "%205", "-1", "1.0"]) {
      const asked = `${path}${path.includes("?") ? "&" : "?"}${field}=${text}`;
      expect(await refused(asked), asked).toEqual([400, "invalid-query", field]);
    }
  });
});

describe("a parameter that is given twice", () => {
  it("is refused by its name, for only one of the two could be meant", async () => {
    expect(await refused("/asked/manifest?prefix=a/&prefix=b/")).toEqual([400, "invalid-query", "prefix"]);
    expect(await refused("/asked/versions?limit=1&limit=1")).toEqual([400, "invalid-query", "limit"]);
    expect(await refused("/asked/records?key=a&key=b")).toEqual([400, "invalid-query", "key"]);
    expect((await api(seen, "GET /v1/datasets/asked/manifest?prefix=a/&suffix=a/")).status).toBe(200);
  });
});

describe("a cursor of places", () => {
  /** As a request gets it that comes to its end before the dataset does. */
  async function cursorOf(prefix: string): Promise<string> {
    const getByName = () => ({
      placeBelow: async (_: string, after: string | null) => ({
        ok: true,
        value: { known: 0, changed: 0, next: after ?? `${prefix}1` },
      }),
    });
    const endless = { ...seen, DATASET: { getByName } } as unknown as Env;
    const { body } = await api(endless, "POST /v1/datasets/asked/places", { ...SAID, prefix });
    return String(body["cursor"]);
  }
  const SAID = { stage: "raw", category: null };
  const placed = async (prefix: string, cursor: string) => {
    const { status, body } = await api(seen, "POST /v1/datasets/asked/places", { ...SAID, prefix, cursor });
    return [status, body["objects"] ?? body["code"]];
  };

  it("goes on behind the key that it stands for, of its own prefix", async () => {
    expect(await placed("a/", await cursorOf("a/"))).toEqual([200, 1]);
    expect(await placed("", await cursorOf(""))).toEqual([200, 3]);
  });

  it("is refused for another prefix, and so is that of another list", async () => {
    for (const [prefix, other] of [
      ["b/", await cursorOf("a/")],
      ["", await cursorOf("a/")],
      ["a", await cursorOf("a b/")],
      ["a/", formatCursor("a/1")],
    ] as const) {
      expect(await placed(prefix, other), prefix).toEqual([400, "invalid-cursor"]);
    }
  });
});
