import { describe, expect, it } from "vitest";
import {
  checkOptions,
  DEFAULT_OPTIONS,
  migrationBodySchema,
  type MigrationOptions,
  planRun,
  retryOf,
  verificationOf,
} from "../../workers/core/migration/request.ts";
import { NO_FILTER } from "../../workers/core/migration/filter.ts";
import type { MigrationSpec } from "../../workers/core/migration/status.ts";

const ID = "mig_01K0000000000000000000000A";

/** What is wrong with a body, as it is answered: the field of the first issue, or of the rule that is broken. */
function refusal(body: object): string | null {
  const parsed = migrationBodySchema.safeParse({ dataset: "era5", ...body });
  if (parsed.success) return checkOptions(parsed.data)?.field ?? null;
  const [issue] = parsed.error.issues;
  if (issue === undefined) return "?";
  const unknown = issue.code === "unrecognized_keys" ? [issue.keys[0] ?? ""] : [];
  return [...issue.path, ...unknown].join(".");
}

const optionsOf = (body: object): MigrationOptions => {
  const { dataset: _, ...options } = migrationBodySchema.parse({ dataset: "era5", ...body });
  return options;
};

describe("the body of POST /v1/migrations", () => {
  it("with nothing but a dataset copies what is new or different, and deletes nothing", () => {
    expect(optionsOf({})).toEqual(DEFAULT_OPTIONS);
    expect(checkOptions(DEFAULT_OPTIONS)).toBeNull();
    expect(planRun(DEFAULT_OPTIONS)).toEqual({
      direction: "in",
      task: "copy",
      filter: NO_FILTER,
      overwrite: "if-different",
      deletes: null,
      checksums: false,
    });
  });

  it.each([
    [{ dryRun: true }, { task: "estimate" }],
    [{ verify: "listing" }, { task: "verify" }],
    [{ verify: "deep" }, { task: "verify-deep" }],
    [
      { direction: "back", dryRun: true },
      { task: "estimate", direction: "back" },
    ],
    [
      { overwrite: "if-newer", dryRun: true },
      { task: "estimate", overwrite: "if-newer" },
    ],
    [{ deleteExtraneous: true }, { deletes: { max: 0, sealed: false } }],
    [
      { deleteExtraneous: true, maxDelete: 7, deleteSealed: true, prefix: "c/", include: ["**/*.nc"], exclude: ["x"] },
      { deletes: { max: 7, sealed: true }, filter: { prefix: "c/", include: ["**/*.nc"], exclude: ["x"] } },
    ],
    [{ deleteExtraneous: true, dryRun: true, maxDelete: 20_000 }, { deletes: { max: 20_000, sealed: false } }],
    [
      { minBytes: 1, maxBytes: 1, modifiedSince: "2026-01-31T01:00:00+01:00", storageClasses: ["STANDARD"] },
      { filter: { minBytes: 1, maxBytes: 1, modifiedSince: Date.UTC(2026, 0, 31), storageClasses: ["STANDARD"] } },
    ],
    [{ checksums: true }, { checksums: true }],
  ])("%j asks for %j", (body, plan) => {
    expect(refusal(body)).toBeNull();
    expect(planRun(optionsOf(body))).toMatchObject(plan);
  });

  it.each([
    ["a list", ["a", "é", "a//../b"], ["a", "é", "a//../b"]],
    ["an object of NDJSON", { bucket: "B", key: "l" }, { kind: "object", bucket: "B", key: "l", format: "ndjson" }],
    ["an object of CSV", { bucket: "B", key: "l.CSV" }, { kind: "object", bucket: "B", key: "l.CSV", format: "csv" }],
    ["what failed in a run", { migration: ID }, { kind: "report", migration: ID, outcomes: ["failed"] }],
    [
      "other outcomes of a run",
      { migration: ID, outcomes: ["missing", "different"] },
      { kind: "report", migration: ID, outcomes: ["missing", "different"] },
    ],
    ["none, and so all", null, null],
  ])("takes keys from %s", (_, keys, parsed) => {
    expect(refusal({ keys })).toBeNull();
    expect(optionsOf({ keys }).keys).toEqual(parsed);
  });

  it.each([
    [{ dataset: "Era5" }, "dataset"],
    [{ colour: "red" }, "colour"],
    [{ dryRun: "yes" }, "dryRun"],
    [{ direction: "out" }, "direction"],
    [{ verify: true }, "verify"],
    [{ overwrite: "sometimes" }, "overwrite"],
    [{ checksums: 1 }, "checksums"],
    [{ include: [] }, "include"],
    [{ exclude: ["["] }, "exclude.0"],
    [{ modifiedSince: "yesterday" }, "modifiedSince"],
    [{ minBytes: 2, maxBytes: 1 }, "maxBytes"],
    [{ maxDelete: -1, deleteExtraneous: true }, "maxDelete"],
    [{ maxDelete: 20_001, deleteExtraneous: true }, "maxDelete"],
    [{ keys: [] }, "keys"],
    [{ keys: "a" }, "keys"],
    [{ keys: {} }, "keys"],
    [{ keys: ["a", ""] }, "keys.1"],
    [{ keys: ["a", 7] }, "keys.1"],
    [{ keys: ["\0"] }, "keys.0"],
    [{ keys: Array.from({ length: 10_001 }, (_, i) => `k${i}`) }, "keys"],
    [{ keys: { bucket: "B" } }, "keys.key"],
    [{ keys: { bucket: "B", key: "l", region: "r" } }, "keys.region"],
    [{ keys: { bucket: "B", key: "l", migration: ID } }, "keys.migration"],
    [{ keys: { migration: "mig_1" } }, "keys.migration"],
    [{ keys: { migration: ID, outcomes: [] } }, "keys.outcomes"],
    [{ keys: { migration: ID, outcomes: ["lost"] } }, "keys.outcomes.0"],
  ])("of %j is refused by the field %s", (body, field) => {
    expect(refusal(body)).toBe(field);
  });

  it.each([
    [{ dryRun: true, verify: "deep" }, "verify"],
    [{ direction: "back", verify: "listing" }, "verify"],
    [{ direction: "back", overwrite: "always" }, "overwrite"],
    [{ verify: "listing", overwrite: "never" }, "overwrite"],
    [{ maxDelete: 1 }, "maxDelete"],
    [{ deleteSealed: true }, "deleteSealed"],
    [{ deleteExtraneous: true, direction: "back" }, "deleteExtraneous"],
    [{ deleteExtraneous: true, verify: "listing" }, "deleteExtraneous"],
    [{ deleteExtraneous: true, keys: ["a"] }, "deleteExtraneous"],
    [{ deleteExtraneous: true, minBytes: 1 }, "deleteExtraneous"],
    [{ deleteExtraneous: true, modifiedSince: "2026-01-01T00:00:00Z" }, "deleteExtraneous"],
    [{ deleteExtraneous: true, storageClasses: ["GLACIER"] }, "deleteExtraneous"],
  ])("refuses %j, which does not go together, by the field %s and with a way out", (body, field) => {
    const refused = checkOptions(optionsOf(body));
    expect(refused).toMatchObject({ code: "invalid-body", field });
    expect(refused?.detail).toMatch(new RegExp(`^${field}: .{20,}\\.$`));
  });
});

const spec = (more: Partial<MigrationSpec>): MigrationSpec => ({
  ...{ id: ID, dataset: "era5", datasetId: "ds_1", source: { name: "s", prefix: "" }, bucket: "B", prefix: "era5/" },
  ...{ multipartThresholdBytes: 1, partBytes: 1, cuts: ["a"] },
  ...planRun(DEFAULT_OPTIONS),
  keys: null,
  ...more,
});

it("says where a list of keys goes that is too long for a request", () => {
  const keys = Array.from({ length: 10_001 }, (_, i) => `k${i}`);
  const parsed = migrationBodySchema.safeParse({ dataset: "era5", keys });
  expect(parsed.error?.issues[0]?.message).toBe(
    'names more than 10000 keys; put a longer list into a bucket and name it: "keys": {"bucket", "key"}',
  );
  expect(migrationBodySchema.safeParse({ dataset: "era5", keys: keys.slice(1) }).success).toBe(true);
});

describe("a run that follows another one", () => {
  it("does again what did not come out well, as the first one did it, without its filter and its deletes", () => {
    const filter = { ...NO_FILTER, minBytes: 5 };
    const first = spec({ filter, overwrite: "if-newer", checksums: true, deletes: { max: 9, sealed: true } });
    const options = retryOf(first);
    expect(checkOptions(options)).toBeNull();
    expect(planRun(options)).toEqual({
      ...{ direction: "in", task: "copy", filter: NO_FILTER, overwrite: "if-newer", deletes: null, checksums: true },
    });
    expect(options.keys).toEqual({
      ...{ kind: "report", migration: ID, outcomes: ["failed", "missing", "different", "unproved"] },
    });
  });

  it("copies what a verification found wanting, though the ETags may be equal", () => {
    for (const task of ["verify", "verify-deep"] as const) {
      expect(planRun(retryOf(spec({ task })))).toMatchObject({ task: "copy", overwrite: "always" });
    }
  });

  it("of a dry run is a dry run, and of a run back is one back", () => {
    expect(planRun(retryOf(spec({ task: "estimate" })))).toMatchObject({ task: "estimate" });
    const back = retryOf(spec({ direction: "back" }));
    expect(checkOptions(back)).toBeNull();
    expect(planRun(back)).toMatchObject({ task: "copy", direction: "back" });
  });

  it("verifies what the first one was about, also where that deleted, overwrote or went back", () => {
    const keys = { kind: "object" as const, bucket: "SYSTEM", key: "k", format: "ndjson" as const };
    const filter = { ...NO_FILTER, prefix: "c/", exclude: ["x"], minBytes: 5 };
    const first = spec({ filter, keys, overwrite: "always", direction: "back", deletes: { max: 9, sealed: true } });
    for (const [isDeep, task] of [
      [false, "verify"],
      [true, "verify-deep"],
    ] as const) {
      const options = verificationOf(first, isDeep);
      expect(checkOptions(options)).toBeNull();
      expect(planRun(options)).toMatchObject({ task, filter, direction: "in", deletes: null });
      expect(options.keys).toEqual(keys);
    }
  });
});
