import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { covers, coversFolder, isPrefix, overlaps } from "../../workers/core/capability/scope.ts";

describe("a prefix", () => {
  it("is empty or ends in a slash", () => {
    expect(["", "/", "era5/", "era5/t2m/"].filter(isPrefix)).toEqual(["", "/", "era5/", "era5/t2m/"]);
    expect(["era5", "era5/t2m", "/era5", " "].filter(isPrefix)).toEqual([]);
  });
});

describe("a scope", () => {
  it("opens what lies under a prefix of it", () => {
    const scope = { prefixes: ["era5/", "maps/eu/"], keys: [] };
    expect(covers(scope, "era5/zarr.json")).toBe(true);
    expect(covers(scope, "era5/")).toBe(true);
    expect(covers(scope, "maps/eu/0/0")).toBe(true);
  });

  it("never opens era5-private by era5", () => {
    expect(covers({ prefixes: ["era5/"], keys: [] }, "era5-private/zarr.json")).toBe(false);
    expect(covers({ prefixes: ["era5/"], keys: [] }, "era5")).toBe(false);
    expect(covers({ prefixes: ["era5"], keys: [] }, "era5-private/zarr.json")).toBe(false);
    expect(covers({ prefixes: ["era5"], keys: [] }, "era5/zarr.json")).toBe(false);
  });

  it("opens a key that it names, and nothing that begins with it", () => {
    const scope = { prefixes: [], keys: ["labels.json", "runs/"] };
    expect(covers(scope, "labels.json")).toBe(true);
    expect(covers(scope, "labels.json.bak")).toBe(false);
    expect(covers(scope, "labels.jso")).toBe(false);
    expect(covers(scope, "Labels.json")).toBe(false);
    expect(covers(scope, "runs/1")).toBe(false);
  });

  it("takes dot segments for what they are, characters of a key", () => {
    expect(covers({ prefixes: ["era5/"], keys: [] }, "maps/../era5/zarr.json")).toBe(false);
    expect(covers({ prefixes: ["era5/"], keys: [] }, "era5/../maps/0")).toBe(true);
  });

  it("opens everything by the empty prefix, and nothing when it is empty", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (key) => {
        expect(covers({ prefixes: [""], keys: [] }, key)).toBe(true);
        expect(covers({ prefixes: [], keys: [] }, key)).toBe(false);
      }),
    );
  });
});

describe("what is told by one key of its whole folder", () => {
  const opens = (prefixes: string[], keys: string[], key: string) => coversFolder({ prefixes, keys }, key);

  it("is open to a prefix that the folder is in, and not to one within it", () => {
    expect(opens(["store/"], [], "store/zarr.json")).toBe(true);
    expect(opens(["store/"], [], "store/deep/zarr.json")).toBe(true);
    expect(opens([""], [], "zarr.json")).toBe(true);
    expect(opens(["store/deep/"], [], "store/zarr.json")).toBe(false);
    expect(opens(["store/"], [], "zarr.json")).toBe(false);
  });

  it("is not open to who may read that key alone, nor to a prefix that is none", () => {
    expect(opens([], ["zarr.json", "store/zarr.json"], "zarr.json")).toBe(false);
    expect(opens(["store/deep/"], ["store/zarr.json"], "store/zarr.json")).toBe(false);
    expect(opens(["store"], [], "store/zarr.json")).toBe(false);
    expect(opens(["store/"], [], "store-private/zarr.json")).toBe(false);
  });

  it("is open only where every key of the folder is", () => {
    const text = fc.array(fc.constantFrom("a", "b/", "/"), { maxLength: 5 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.array(text, { maxLength: 3 }), text, text, (prefixes, key, below) => {
        const folder = key.slice(0, key.lastIndexOf("/") + 1);
        if (opens(prefixes, [], key)) expect(covers({ prefixes, keys: [] }, folder + below)).toBe(true);
      }),
    );
  });
});

describe("two prefixes", () => {
  it("overlap when one contains the other", () => {
    expect(overlaps("era5/", "era5/t2m/")).toBe(true);
    expect(overlaps("era5/t2m/", "era5/")).toBe(true);
    expect(overlaps("era5/", "era5/")).toBe(true);
  });

  it("do not overlap side by side, however alike their names", () => {
    expect(overlaps("era5/", "era5-private/")).toBe(false);
    expect(overlaps("runs/1/", "runs/10/")).toBe(false);
  });

  it("overlap always when one of them is empty", () => {
    expect(overlaps("", "era5/")).toBe(true);
    expect(overlaps("era5/", "")).toBe(true);
    expect(overlaps("", "")).toBe(true);
  });

  it("overlap when they are one name in two Unicode spellings, since R2 keeps only one", () => {
    expect(overlaps("caf\u00e9/", "cafe\u0301/x/")).toBe(true);
  });

  it("overlap in both orders or in neither, and whenever a key lies under both", () => {
    const prefix = fc
      .array(fc.constantFrom("a", "b", "ab"), { maxLength: 3 })
      .map((parts) => parts.map((p) => `${p}/`).join(""));
    fc.assert(
      fc.property(prefix, prefix, fc.constantFrom("", "x", "a/x"), (a, b, rest) => {
        expect(overlaps(a, b)).toBe(overlaps(b, a));
        if (covers({ prefixes: [b], keys: [] }, a + rest) && rest === "") expect(overlaps(a, b)).toBe(true);
        if (!overlaps(a, b)) expect(covers({ prefixes: [b], keys: [] }, a + rest)).toBe(false);
      }),
    );
  });
});
