import { describe, expect, it } from "vitest";
import { formatRegistry, keysOfPath, parseRegistry } from "../../workers/core/manifest/registry.ts";

describe("a registry file", () => {
  it("comes back in its own shape", () => {
    const file = JSON.parse(
      '{"a":"x","b":{"path":"y","rows":9007199254740991,"tags":["t"]},"cat":{"a":"z","b":{"path":"w"}},"c":"v"}',
    ) as Record<string, unknown>;
    const entries = parseRegistry(file);
    expect(entries.ok && entries.value.length).toBe(5);
    expect(JSON.parse(JSON.stringify(formatRegistry(entries.ok ? entries.value : [])))).toEqual(file);
  });
});

describe("the names and categories of a registry", () => {
  it("are in Unicode NFC, in which they are asked for, and none is there in two spellings", () => {
    const parsed = parseRegistry({ "cafe\u0301": { "e\u0301": "x" } });
    expect(parsed).toMatchObject({ ok: true, value: [{ category: "caf\u00e9", name: "\u00e9", path: "x" }] });
    const twice = parseRegistry({ c: { "e\u0301": "x", "\u00e9": "y" } });
    expect(twice).toMatchObject({ ok: false, failure: { code: "invalid-body", field: "registry.c.\u00e9" } });
    expect(parseRegistry({ a: "x", c: { a: "y" }, d: { a: "z" } }).ok).toBe(true);
  });
});

describe("a registry file that would not come back as it was", () => {
  const deep = `${'{"a":'.repeat(40)}1${"}".repeat(40)}`;
  it.each([
    ["a number beyond 2^53", '{"a":{"path":"x","id":12345678901234567890}}', "registry.a.id", "2^53"],
    ["one in a list", '{"c":{"a":{"path":"x","ids":[1,9007199254740993]}}}', "registry.c.a.ids.1", "2^53"],
    ["the name __proto__", '{"__proto__":"x"}', "registry.__proto__", "choose another"],
    ["it in a category", '{"c":{"__proto__":"x"}}', "registry.c.__proto__", "choose another"],
    ["it in an entry", '{"a":{"path":"x","o":{"__proto__":1}}}', "registry.a.o.__proto__", "choose another"],
    ["what lies too deep", `{"a":{"path":"x","o":${deep}}}`, `registry.a.o${".a".repeat(31)}`, "deep"],
    ["a long path", `{"a":"${"p".repeat(4097)}"}`, "registry.a", "4096 characters"],
    ["long fields", `{"c":{"a":{"path":"x","note":"${"n".repeat(65_536)}"}}}`, "registry.c.a", "65536"],
    ["half a surrogate pair", '{"a":"\\ud800"}', "registry.a", "Unicode"],
  ])("for %s is refused, by its name", (_, text, field, rule) => {
    const parsed = parseRegistry(JSON.parse(text) as Record<string, unknown>);
    expect(parsed).toMatchObject({ ok: false, failure: { code: "invalid-body", field } });
    expect(parsed.ok ? "" : parsed.failure.detail).toContain(rule);
  });

  it("and is taken up to those bounds", () => {
    const long = { a: "p".repeat(4096), b: { path: "x", note: "n".repeat(65_536 - '{"note":""}'.length) } };
    expect(parseRegistry(long).ok).toBe(true);
  });
});

describe("keysOfPath", () => {
  const holdings = [
    { bucket: "r2", prefix: "era5/" },
    { bucket: "aws", prefix: "cubes/" },
  ];
  it.each([
    ["a/b", ["a/b"]],
    ["./a/b", ["./a/b", "a/b"]],
    ["era5/a", ["era5/a", "a"]],
    ["r2/era5/a", ["r2/era5/a", "a"]],
    ["/aws/cubes/a", ["/aws/cubes/a", "aws/cubes/a", "a"]],
    ["s3://aws/cubes/a", ["a"]],
    ["s3://aws/other/a", []],
    ["s3://elsewhere/cubes/a", []],
    ["s3://cubes/a", []],
    ["e\u0301", ["\u00e9"]],
  ])("%j may be %j", (path, keys) => {
    expect(keysOfPath(path, holdings)).toEqual(keys);
  });
});
