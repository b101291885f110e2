import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { api, apiTokens, request } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";

let seen: Env;
beforeAll(async () => {
  seen = { ...env, ...(await apiTokens()) } as unknown as Env;
});

interface Part {
  key: string;
  url: string | null;
  size: number;
  chunk?: number[];
  selection?: [number, number][];
  range?: { offset: number; length: number };
  records?: { first: number; count: number };
}
/** All parts of a job, as a node is answered them. */
async function partsOf(dataset: string, input: object): Promise<Part[]> {
  const units = { shuffle: false };
  const job = await api<Record<string, string>>(seen, "POST /v1/jobs", { name: "j", dataset, input, units });
  expect(job.status, job.body["detail"]).toBe(201);
  const asking = { node: "n", request: "r", count: 1000, via: "edge" };
  const { body } = await api(seen, `POST /v1/jobs/${job.body["id"]}/leases`, asking, job.body["token"]);
  return (body["leases"] as { parts: Part[] }[]).flatMap(({ parts }) => parts);
}
const zarray = (more: object = {}) =>
  JSON.stringify({ zarr_format: 2, shape: [5, 6], chunks: [2, 3], dtype: "|u1", ...more });

describe("a part of an array", () => {
  it("says which of its elements are selected, in places of the array; where all are named, nothing", async () => {
    const objects = { "t/.zarray": zarray(), "t/0.0": "aaaaaa", "t/2.1": "cc", "whole/.zarray": zarray() };
    const { seal } = await fillDataset(seen, "selected", "zarr", objects);
    await seal();
    const zarr = [{ path: "t", select: ["1:", "2:4"] }, { path: "whole" }];
    const parts = await partsOf("selected@1", { zarr });
    const of = (path: string) => parts.filter(({ key }) => key.startsWith(`${path}/`));
    expect(of("t").map(({ chunk, selection }) => [chunk, selection])).toEqual(
      [0, 1, 2].flatMap((row) =>
        [0, 1].map((column) => [
          [row, column],
          [
            [Math.max(1, 2 * row), Math.min(5, 2 * row + 2)],
            [column === 0 ? 2 : 3, column === 0 ? 3 : 4],
          ],
        ]),
      ),
    );
    expect(of("whole")).toHaveLength(6);
    for (const part of of("whole")) expect(part).not.toHaveProperty("selection");
  });

  it("has a key that R2 can hold: of an array whose last chunk has none nothing is cut", async () => {
    // The last chunk's name has 511 characters, the dataset's prefix five.
    const shape = Array.from({ length: 32 }, () => 10 ** 15);
    const document = zarray({ shape, chunks: shape.map(() => 1) });
    const [fits, longer] = ["p".repeat(507), "p".repeat(508)];
    const objects = { [`${fits}/.zarray`]: document, [`${longer}/.zarray`]: document };
    const { seal } = await fillDataset(seen, "deep", "zarr", objects);
    await seal();
    const select = shape.map(() => "0:1");
    const parts = await partsOf("deep@1", { zarr: [{ path: fits, select }] });
    expect(parts).toMatchObject([{ url: null, size: 0, chunk: shape.map(() => 0) }]);
    const zarr = [
      { path: fits, select },
      { path: longer, select },
    ];
    const { status, body } = await api(seen, "POST /v1/jobs", { name: "j", dataset: "deep@1", input: { zarr } });
    expect([status, body["code"], body["field"]]).toEqual([400, "not-zarr", "input.zarr.1.path"]);
    expect(body["detail"]).toContain("1,024 bytes");
  });
});

describe("a part of records", () => {
  it("begins after a byte order mark, so that its bytes are JSON from the first on", async () => {
    const text = '\ufeff{"n":0}\n{"n":1}\n';
    const { seal } = await fillDataset(seen, "marked", "files", { "a.jsonl": text });
    await seal();
    const [part] = await partsOf("marked@1", { records: ["a.jsonl"] });
    expect(part).toMatchObject({ range: { offset: 3, length: 16 }, size: 16, records: { first: 0, count: 2 } });
    const range = { range: "bytes=3-18" };
    const answer = await request(seen, `GET ${new URL(part?.url ?? "").pathname}`, undefined, "", range);
    const lines = (await answer.text()).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([{ n: 0 }, { n: 1 }]);
  });
});
