import { describe, expect, it } from "vitest";
import { failure } from "../../workers/core/failure.ts";
import { EVERYTHING, type RowPage } from "../../workers/core/manifest/query.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { Listing, PAGES_MAX } from "../../workers/gateway/manifest/listing.ts";
import { csv, ndjson } from "../../workers/gateway/manifest/stream.ts";

const page = (more: Partial<RowPage> = {}): Result<RowPage> =>
  ok({ rows: [], removed: [], prefixes: ["p/"], next: { key: "p/", seq: 0 }, seq: 7, ...more });

async function linesOf(answer: (times: number) => Result<RowPage>, limit = Number.POSITIVE_INFINITY, isLive = true) {
  let times = 0;
  const source = { page: async () => answer(++times) };
  const listing = new Listing(source, EVERYTHING, null, limit);
  const lines: Record<string, unknown>[] = [];
  const decoder = new TextDecoder();
  const made = { listing, isLive, signer: null, format: () => "CURSOR", begun: null };
  for await (const chunk of ndjson(made)) {
    for (const line of decoder.decode(chunk).trimEnd().split("\n")) lines.push(JSON.parse(line));
  }
  return { end: lines.pop(), lines: lines.length, times };
}
const away = fail(failure("store-unavailable", "away"));

describe("the last line of a manifest in NDJSON", () => {
  it("has changedSince where nothing is left, of the live manifest alone", async () => {
    const last = () => page({ next: null });
    expect((await linesOf(last)).end).toEqual({ end: true, objects: 0, bytes: 0, changedSince: 7 });
    expect((await linesOf(last, 5, false)).end).toEqual({ end: true, objects: 0, bytes: 0 });
  });

  it("has a cursor and no changedSince where the limit came first", async () => {
    expect((await linesOf(() => page(), 2)).end).toEqual({ end: true, objects: 0, bytes: 0, cursor: "CURSOR" });
  });

  it("says that it is not the end where the listing is too long for one answer", async () => {
    const { end, lines } = await linesOf(() => page());
    expect(lines).toBe(PAGES_MAX.shown);
    expect(end).toMatchObject({ end: false, cursor: "CURSOR", failure: { code: "listing-too-long" } });
    expect(end).not.toHaveProperty("changedSince");
  });

  it("is of the whole listing where a later page was away once, and says so where it stays away", async () => {
    const once = await linesOf((times) =>
      times === 2 ? away : page({ next: times > 2 ? null : { key: "p/", seq: 0 } }),
    );
    expect([once.end?.["end"], once.lines, once.times]).toEqual([true, 2, 3]);
    const stays = await linesOf((times) => (times > 1 ? away : page()));
    expect([stays.end?.["end"], stays.end?.["cursor"], stays.times]).toEqual([false, "CURSOR", 3]);
    const other = await linesOf((times) => (times > 1 ? fail(failure("version-damaged")) : page()));
    expect([other.end?.["end"], other.times]).toEqual([false, 2]);
  });
});

describe("a manifest in CSV", () => {
  it("breaks off where it is too long for one answer", async () => {
    const listing = new Listing({ page: async () => page() }, EVERYTHING, null, Number.POSITIVE_INFINITY);
    const all = async () => {
      for await (const chunk of csv({ listing, signer: null })) expect(chunk.length).toBeGreaterThan(0);
    };
    await expect(all()).rejects.toThrow("listing-too-long");
  });
});
