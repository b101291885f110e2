import { describe, expect, it } from "vitest";
import { inferFields } from "../../workers/core/exports/record-fields.ts";

const typesOf = (...records: string[]) =>
  Object.fromEntries(
    inferFields(records).fields.map(({ name, content }) => [
      name,
      content.kind === "leaf"
        ? content.leaf.type + "[]".repeat(content.leaf.dimensions)
        : [
            content.kind,
            ...content.leaves.map(
              ({ path, type, dimensions }) => `${path.join(".")}:${type}${"[]".repeat(dimensions)}`,
            ),
          ],
    ]),
  );

describe("the fields of records", () => {
  it("have the type of all their values, of which null says nothing", () => {
    expect(
      typesOf(
        '{"a": 1, "b": true, "c": "x", "d": null, "e": null}',
        '{"a": null, "b": false, "c": "2024", "d": 1, "e": null}',
      ),
    ).toEqual({
      ...{ a: "Integer", b: "Boolean", c: "Text", d: "Integer", e: "Text" },
    });
  });

  it("are floats where one number is written with a fraction or an exponent, even 1.0", () => {
    expect(typesOf('{"a": 1, "b": 1.0, "c": 1e3}', '{"a": 2, "b": 2, "c": 1}')).toEqual({
      a: "Integer",
      b: "Float",
      c: "Float",
    });
    expect(typesOf('{"a": 1}', '{"a": 0.5}')).toEqual({ a: "Float" });
  });

  it("are dates where every text is one of ISO 8601", () => {
    expect(
      typesOf(
        '{"a": "2024-01-31", "b": "2024-01-31", "c": "2024-01-31"}',
        '{"a": "2024-02-01", "b": "2024-02-01T10:00:00.5Z", "c": "soon"}',
      ),
    ).toEqual({
      ...{ a: "Date", b: "DateTime", c: "Text" },
    });
  });

  it("are text where scalars of several types come, and left out where an object or an array comes beside", () => {
    const found = inferFields(['{"a": 1, "b": 1, "c": [1]}', '{"a": "x", "b": {"x": 1}, "c": 5}']);
    expect(found.fields.map(({ name }) => name)).toEqual(["a"]);
    expect(found.leftOut).toEqual(["b", "c"]);
    expect(typesOf('{"a": 1}', '{"a": "x"}')).toEqual({ a: "Text" });
  });

  it("may be arrays of any dimensions, or objects and arrays of them with values in it", () => {
    expect(
      typesOf(
        '{"a": ["x"], "b": [[1], []], "c": [], "o": {"x": 1, "in": {"y": [0.5]}}, "m": [{"role": "user", "n": 1}, {"role": "system"}]}',
      ),
    ).toEqual({
      ...{ a: "Text[]", b: "Integer[][]", c: "Text[]" },
      ...{ o: ["object", "x:Integer", "in.y:Float[]"], m: ["objects", "role:Text", "n:Integer"] },
    });
  });

  it("tell which are in every record, also within objects", () => {
    const { fields, records } = inferFields([
      '{"a": 1, "b": null, "o": {"x": 1, "y": 1}, "p": {"z": 1}}',
      '{"b": 2, "o": {"x": 2}, "p": null}',
      "broken",
      "[1]",
    ]);
    expect(records).toBe(2);
    expect(fields.map(({ name, isAlways }) => [name, isAlways])).toEqual([
      ["a", false],
      ["b", true],
      ["o", true],
      ["p", true],
    ]);
    const leaves = fields.flatMap(({ content }) => (content.kind === "object" ? content.leaves : []));
    expect(leaves.map(({ path, isAlways }) => [path.join("."), isAlways])).toEqual([
      ["x", true],
      ["y", false],
      ["z", false],
    ]);
  });

  it("end at 200, and what lies too deep is left out", () => {
    const wide = JSON.stringify(Object.fromEntries(Array.from({ length: 210 }, (_, index) => [`f${index}`, index])));
    const found = inferFields([wide]);
    expect([found.fields.length, found.leftOut.length, found.leftOut[0]]).toEqual([200, 10, "f200"]);
    expect(inferFields(['{"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}'])).toMatchObject({
      fields: [],
      leftOut: ["a.b.c.d.e", "a"],
    });
  });
});
