import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { givenRow } from "../harness/rows.ts";
import { api, apiTokens, request } from "./harness/api.ts";
import { must } from "./harness/run.ts";
import { sealable, sealInSteps } from "./harness/sealed.ts";

let seen: Env;

beforeAll(async () => {
  seen = Object.assign({}, env, await apiTokens("mine"));
});

/** Keys as a list has them, page by page. */
async function listed(path: string, field: "objects" | "changes", limit: number): Promise<string[]> {
  const keys: string[] = [];
  for (let more = ""; ;) {
    const { status, body } = await api<Record<typeof field, { key: string }[]> & { cursor?: string }>(
      seen,
      `GET /v1/datasets/${path}limit=${limit}${more}`,
    );
    expect(status).toBe(200);
    keys.push(...body[field].map(({ key }) => key));
    if (body.cursor === undefined) return keys;
    more = `&cursor=${body.cursor}`;
  }
}

describe("keys that begin with U+FEFF, which decoders of text take for a byte order mark", () => {
  const BOM = "\u{feff}";
  const numbered = (before: string, count: number) => Array.from({ length: count }, (_, i) => `${before}${10 + i}`);
  const first = [...numbered("k", 30), ...numbered(BOM, 5), BOM, `${BOM}${BOM}`, "\u{ff5e}1", "\u{1f600}2"];
  const second = [`${BOM}x`, `${BOM}y`, "zz"];
  let name = "";

  beforeAll(async () => {
    const { id, stub, ...dataset } = await sealable();
    ({ name } = dataset);
    // In row groups of seven: such keys are the first and the last of some.
    for (const keys of [first, second]) {
      const etag = "a".repeat(32);
      must(
        await stub.applyRows(
          id,
          keys.map((key) => givenRow(key, { etag })),
        ),
      );
      await sealInSteps(stub, id, async () => {});
    }
  });

  it.each([1, 3, 1000])("are listed of a version in pages of %d, each once, and hide no other", async (limit) => {
    const sorted = first.toSorted(compareUtf8);
    expect(await listed(`${name}/manifest?version=1&`, "objects", limit)).toEqual(sorted);
    expect(await listed(`${name}/manifest?version=1&prefix=${encodeURIComponent(BOM)}&`, "objects", limit)).toEqual(
      sorted.filter((key) => key.startsWith(BOM)),
    );
    expect(await listed(`${name}/manifest?`, "objects", limit)).toEqual([...first, ...second].toSorted(compareUtf8));
  });

  it.each([1, 2, 1000])("are told of in a diff, in pages of %d", async (limit) => {
    expect(await listed(`${name}/versions/1..2?`, "changes", limit)).toEqual(second.toSorted(compareUtf8));
  });

  it("are in an export by their names", async () => {
    const text = await (await request(seen, `GET /v1/datasets/${name}/versions/2/exports/sha256sum`)).text();
    for (const key of second) expect(text.split("\n")).toContain(`# without a SHA-256: ${key}`);
  });
});
