import { describe, expect, it } from "vitest";
import { encodingFormat, formatFileObject, whyNoFile } from "../../workers/core/exports/croissant.ts";
import { formatRecordSet } from "../../workers/core/exports/croissant-records.ts";
import { inferFields } from "../../workers/core/exports/record-fields.ts";
import type { Kind } from "../../workers/core/records/record.ts";

const FILE = { key: "a.bin", size: 3, md5: "m", sha256: null, contentType: null, contentEncoding: null };

describe("a FileObject", () => {
  it("has one checksum, the stronger, and an id that no IRI parser changes", () => {
    const of = (more: object) =>
      JSON.parse(formatFileObject({ ...FILE, ...more }, "https://h/a")) as Record<string, unknown>;
    expect(of({})).toEqual({
      ...{ "@type": "cr:FileObject", "@id": "files/a.bin", name: "a.bin", contentUrl: "https://h/a" },
      ...{ contentSize: "3 B", encodingFormat: "application/octet-stream", md5: "m" },
    });
    expect(of({ sha256: "s" })).toMatchObject({ sha256: "s" });
    expect(of({ sha256: "s" })).not.toHaveProperty("md5");
    expect(of({ key: "x/../ü #" })["@id"]).toBe("files/x%2F..%2F%C3%BC%20%23");
  });

  it("is not made of an object without a known checksum, or with an encoding that clients undo", () => {
    expect(whyNoFile(FILE)).toBeNull();
    expect(whyNoFile({ ...FILE, contentEncoding: "identity" })).toBeNull();
    expect(whyNoFile({ ...FILE, md5: null })).toBe("unsummed");
    expect(whyNoFile({ ...FILE, contentEncoding: "gzip" })).toBe("encoded");
  });

  it.each([
    ["a.jsonl", null, "application/jsonlines"],
    ["a.ndjson.gz", "application/gzip", "application/jsonlines"],
    ["a", "application/x-ndjson; charset=utf-8", "application/jsonlines"],
    ["a.json", "binary/octet-stream", "application/json"],
    ["a.parquet", null, ["application/vnd.apache.parquet", "application/x-parquet"]],
    ["a.csv", null, "text/csv"],
    ["a.png", "Image/PNG; x=y", "image/png"],
    ["a", "git+https", "application/octet-stream"],
    ["a", null, "application/octet-stream"],
  ])("of %s with the type %s has the format %j", (key, contentType, format) => {
    expect(encodingFormat({ key, contentType })).toEqual(format);
  });
});

interface Field {
  "@id": string;
  dataType?: string;
  isArray?: boolean;
  source?: { extract: object; transform?: object };
  subField?: Field[];
}

const setOf = (kind: Kind, ...records: string[]) => {
  const text = formatRecordSet("d/a", kind, inferFields(records));
  return text === null ? null : (JSON.parse(text) as { "@id": string; description: string; field: Field[] });
};
const told = (fields: Field[] | undefined) =>
  fields?.map(({ "@id": id, dataType, source }) => [
    id.slice("fields/d%2Fa/".length),
    dataType,
    source?.extract,
    source?.transform,
  ]);

describe("a record set", () => {
  it("of JSONL has a column for each member, and paths from there into objects and arrays of them", () => {
    const set = setOf("lines", '{"id": 1, "tags": [["x"]], "o": {"in": {"y z": 0.5}}, "m": [{"role": "user"}]}');
    expect(told(set?.field)).toEqual([
      ["id", "sc:Integer", { column: "id" }, undefined],
      ["tags", "sc:Text", { column: "tags" }, undefined],
      ["o", undefined, undefined, undefined],
      ["m", undefined, undefined, undefined],
    ]);
    expect(set?.field[1]).toMatchObject({ isArray: true, arrayShape: "-1,-1" });
    expect(told(set?.field[2]?.subField)).toEqual([
      ["o/in/y%20z", "sc:Float", { column: "o" }, { jsonPath: "$.in['y z']" }],
    ]);
    expect(set?.field[3]).toMatchObject({
      isArray: true,
      subField: [{ source: { transform: { jsonPath: "$.role" } } }],
    });
  });

  it("of JSONL says of a number what pandas makes of its column: a time, by its name, if all are large enough", () => {
    const types = (record: string) => setOf("lines", record)?.field.map(({ dataType }) => dataType);
    expect(types('{"timestamp": 1700000000, "created_at": 1700000000.5, "size": 1700000000}')).toEqual([
      "sc:DateTime",
      "sc:DateTime",
      "sc:Integer",
    ]);
    expect(types('{"timestamp": 5, "start_time": 0.25}')).toEqual(["sc:Integer", "sc:Float"]);
  });

  it("of a JSON array has fields of what is in every record, side by side, and names the others", () => {
    const set = setOf(
      "array",
      '{"id": 1, "o": {"x": 1, "y": 2}, "opt": 1, "m": [{"q": 1}], "timestamp": 1700000000}',
      '{"id": 2, "o": {"x": 2}, "m": [], "timestamp": 1700000000}',
    );
    expect(told(set?.field)).toEqual([
      ["id", "sc:Integer", { jsonPath: "$[*].id" }, undefined],
      ["o/x", "sc:Integer", { jsonPath: "$[*].o.x" }, undefined],
      ["timestamp", "sc:Integer", { jsonPath: "$[*].timestamp" }, undefined],
    ]);
    expect(set?.description).toBe(
      "The records of d/a; the fields are those of the first 2 records. Not described: opt, m.",
    );
  });

  it("has ids of its own where one key goes on with another and the name of a field", () => {
    const setsOf = (key: string, record: string) =>
      JSON.parse(formatRecordSet(key, "lines", inferFields([record])) ?? "{}") as { "@id": string; field: Field[] };
    const sets = [setsOf("a.jsonl", '{"b.jsonl": {"x": 1}}'), setsOf("a.jsonl/b.jsonl", '{"x": 1}')];
    const ids = sets.flatMap(({ "@id": id, field }) => [
      id,
      ...field.flatMap((each) => [each, ...(each.subField ?? [])]),
    ]);
    const texts = ids.map((each) => (typeof each === "string" ? each : each["@id"]));
    expect(texts).toHaveLength(5);
    expect(new Set(texts).size).toBe(5);
  });

  it("leaves out members whose names no path can have, and is none without any field", () => {
    expect(setOf("array", String.raw`{"it's": 1, "a\\b": 1, "o": {"it's": 1}}`)).toBeNull();
    expect(setOf("lines", String.raw`{"it's": 1}`)?.field.length).toBe(1);
    expect(setOf("lines", `{"o": {"it's": 1}}`)).toBeNull();
    expect(setOf("lines", '"text"', "broken")).toBeNull();
    expect(setOf("lines", '{"..": 1}')?.field[0]?.["@id"]).toBe("fields/d%2Fa/%2E%2E");
  });
});
