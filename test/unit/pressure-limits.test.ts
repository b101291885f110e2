import { describe, expect, it } from "vitest";
import {
  configuredLimits,
  limitsPatchSchema,
  type LimitsPatch,
  mergePatches,
  patchedLimits,
  PRESETS,
} from "../../workers/core/pressure/limits.ts";
import { sourceSchema } from "../../workers/core/source.ts";

const place = { endpoint: "https://s3.example", region: "r", bucket: "b" };
const configured = (source: object) => configuredLimits(sourceSchema.parse({ ...place, ...source }));

describe("the limits of a source", () => {
  it("are those of the preset, the cautious one where none is named", () => {
    expect(configured({})).toEqual(PRESETS.s3);
    expect(configured({ preset: "ovh" })).toEqual(PRESETS.ovh);
  });

  it("differ from the preset where the configuration says so; none is null, or the word, for TOML has no null", () => {
    const limits = { bytesPerSecond: 125_000_000, requestsPerSecond: "none", connections: null };
    expect(configured({ preset: "minio", limits })).toEqual({
      ...{ requestsPerSecond: null, bytesPerSecond: 125_000_000, connections: null },
    });
    expect(configured({ preset: "minio", limits: { requestsPerSecond: 7 } })).toEqual({
      ...PRESETS.minio,
      requestsPerSecond: 7,
    });
  });

  it("are refused where they are no limits", () => {
    for (const source of [
      { preset: "azure" },
      { limits: { requestsPerSecond: 0 } },
      { limits: { connections: 1.5 } },
      { limits: { bytesPerSecond: 1 } },
      { limits: { requests: 5 } },
    ]) {
      expect(sourceSchema.safeParse({ ...place, ...source }).success, JSON.stringify(source)).toBe(false);
    }
    expect(limitsPatchSchema.safeParse({ requestsPerSecond: "none" }).success).toBe(false);
  });
});

describe("changes of the limits while they run", () => {
  const after = (...patches: LimitsPatch[]) => patchedLimits(PRESETS.aws, patches.reduce(mergePatches, {}));

  it("change what they name, null for none, and leave what they do not", () => {
    expect(after({ requestsPerSecond: 10 })).toEqual({ ...PRESETS.aws, requestsPerSecond: 10 });
    expect(after({ requestsPerSecond: 10 }, { connections: 4 })).toEqual({
      ...{ requestsPerSecond: 10, bytesPerSecond: null, connections: 4 },
    });
    expect(after({ requestsPerSecond: 10 }, { requestsPerSecond: null })).toMatchObject({ requestsPerSecond: null });
    expect(after({ requestsPerSecond: 10 }, {})).toMatchObject({ requestsPerSecond: 10 });
  });

  it("by a preset replace all that was changed before, and may differ from it in the same breath", () => {
    expect(after({ connections: 4 }, { preset: "ovh" })).toEqual(PRESETS.ovh);
    expect(after({ connections: 4 }, { preset: "ovh", bytesPerSecond: 65_536 })).toEqual({
      ...PRESETS.ovh,
      bytesPerSecond: 65_536,
    });
    expect(after({ preset: "ovh" }, { connections: 4 })).toEqual({ ...PRESETS.ovh, connections: 4 });
  });

  it("are undone by the preset null", () => {
    expect(after({ preset: "ovh", connections: 4 }, { preset: null })).toEqual(PRESETS.aws);
  });
});
