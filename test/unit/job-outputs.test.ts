import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  abortBodySchema,
  checkHashed,
  checkLooks,
  checkNamed,
  checkSentParts,
  commitBodySchema,
  outputsBodySchema,
  planOutput,
} from "../../workers/core/jobs/outputs.ts";
import { checkOnce, quoted, storeKeys } from "../../workers/core/jobs/output-keys.ts";
import { generationOf, markOf } from "../../workers/core/jobs/output-mark.ts";
import { packRetired, retireMessage } from "../../workers/core/jobs/retire-message.ts";
import {
  HASH_OBJECT_MAX_BYTES,
  LOOKS_MAX,
  MESSAGE_MAX_BYTES,
  OBJECT_MAX_BYTES,
  OUTPUT_MULTIPART_BYTES,
  PART_DEFAULT_BYTES,
  PART_MIN_BYTES,
  PARTS_MAX,
  PUT_MAX_BYTES,
} from "../../workers/core/limits.ts";

const plan = (size: number, more: { multipart?: boolean; sha256?: string } = {}) =>
  planOutput({ size, ...more }, PART_DEFAULT_BYTES, "outputs.0");
const codeOf = (result: ReturnType<typeof plan>) => (result.ok ? null : result.failure.field);

describe("an output", () => {
  it("goes in one piece up to 100 MiB, above that in parts, and as it is asked for where R2 takes both", () => {
    expect(plan(OUTPUT_MULTIPART_BYTES)).toEqual({ ok: true, value: null });
    expect(plan(OUTPUT_MULTIPART_BYTES + 1)).toEqual({ ok: true, value: { partBytes: PART_DEFAULT_BYTES, parts: 2 } });
    expect(plan(PUT_MAX_BYTES, { multipart: false })).toEqual({ ok: true, value: null });
    expect(plan(PART_MIN_BYTES + 1, { multipart: true })).toMatchObject({ ok: true, value: { parts: 1 } });
  });

  it("is refused in a way that R2 does not take, or with a sum that nobody would compute", () => {
    expect(codeOf(plan(PART_MIN_BYTES, { multipart: true }))).toBe("outputs.0.multipart");
    expect(codeOf(plan(PUT_MAX_BYTES + 1, { multipart: false }))).toBe("outputs.0.multipart");
    expect(codeOf(plan(HASH_OBJECT_MAX_BYTES + 1, { sha256: "a".repeat(64) }))).toBe("outputs.0.sha256");
  });

  it("of any size is cut into parts that R2 takes", () => {
    const sizes = fc.integer({ min: PART_MIN_BYTES + 1, max: OBJECT_MAX_BYTES });
    fc.assert(
      fc.property(sizes, fc.integer({ min: PART_MIN_BYTES, max: PUT_MAX_BYTES }), (size, partBytes) => {
        const cut = planOutput({ size, multipart: true }, partBytes, "outputs.0");
        if (!cut.ok || cut.value === null) throw new Error("It was not cut.");
        const { parts, partBytes: each } = cut.value;
        expect(parts).toBeLessThanOrEqual(PARTS_MAX);
        expect(each).toBeGreaterThanOrEqual(PART_MIN_BYTES);
        expect(each).toBeLessThanOrEqual(PUT_MAX_BYTES);
        expect(parts).toBe(Math.ceil(size / each));
      }),
    );
  });
});

describe("the parts of a commit", () => {
  const sent = (...numbers: number[]) => numbers.map((number) => ({ number, etag: "e" }));

  it("are all of them, each once, in any order", () => {
    expect(checkSentParts("k", sent(3, 1, 2), 3)).toBeNull();
    for (const wrong of [sent(1, 2), sent(1, 2, 2), sent(1, 2, 4), sent(1, 2, 3, 4), sent(1, 2, 3, 3)]) {
      expect(checkSentParts("k", wrong, 3)?.code).toBe("output-parts");
    }
  });

  it("have ETags with the quotes that the store sent, or without", () => {
    const parse = (etag: string) =>
      commitBodySchema.safeParse({ outputs: [{ key: "k", parts: [{ number: 1, etag }] }] }).data?.outputs[0]?.parts;
    expect(parse('"abc"')).toEqual([{ number: 1, etag: "abc" }]);
    expect(parse("abc")).toEqual([{ number: 1, etag: "abc" }]);
    for (const wrong of ["", '""', "a b", 'a"b']) expect(parse(wrong), wrong).toBeUndefined();
  });
});

describe("what a commit reads for SHA-256", () => {
  it("is bounded in all; what has none is not read", () => {
    const half = { size: HASH_OBJECT_MAX_BYTES / 2, sha256: "a" };
    expect(checkHashed([half, half, { size: 1e12, sha256: null }])).toBeNull();
    expect(checkHashed([half, half, { size: 1, sha256: "a" }])?.field).toBe("outputs");
  });
});

describe("a request about outputs", () => {
  it.each([
    [outputsBodySchema, { outputs: [{ key: "k", size: 1 }], checkpoint: "Step" }],
    [outputsBodySchema, { outputs: [{ key: "k", size: -1 }] }],
    [outputsBodySchema, { outputs: Array.from({ length: 1001 }, (_, n) => ({ key: `${n}`, size: 1 })) }],
    [commitBodySchema, {}],
    [commitBodySchema, { outputs: [{ key: "k", parts: [{ number: 0, etag: "e" }] }] }],
    [commitBodySchema, { outputs: [{ key: "k", parts: [{ number: 10_001, etag: "e" }] }] }],
    [abortBodySchema, {}],
    [abortBodySchema, { keys: ["k"], checkpoint: "s" }],
    [abortBodySchema, { keys: [] }],
  ])("%# that says nothing, too much or both is refused", (schema, body) => {
    expect(schema.safeParse(body).success).toBe(false);
  });
});

describe("messages of what is to be deleted", () => {
  it("have all of it, in its order, and fit one billed operation each", () => {
    const items = Array.from({ length: 1000 }, (_, n) => ({
      ...{ key: `${n}/`.padEnd(900, "é"), etag: "e".repeat(34), generation: 999_999_999_999_999 },
    }));
    const packed = packRetired(items);
    expect(packed.flat()).toEqual(items);
    for (const some of packed) {
      const sent = {
        v: 1,
        type: "retire",
        seq: 1,
        job: "job_1",
        dataset: "d",
        datasetId: "ds_1",
        hold: "h".repeat(90),
      };
      const body = { ...sent, items: some.map(({ key, etag, generation }) => [key, etag, generation]) };
      expect(new TextEncoder().encode(JSON.stringify(body)).length).toBeLessThanOrEqual(MESSAGE_MAX_BYTES);
      expect(retireMessage.parse(body).items).toEqual(some);
    }
  });
});

describe("the requests of a commit", () => {
  const outputs = (count: number, sha256: string | null, partBytes: number | null) =>
    Array.from({ length: count }, () => ({ sha256, partBytes }));

  it("are one an output, one more with a sum, three more in parts; and no more than an invocation has", () => {
    for (const [each, sha256, partBytes] of [
      [1, null, null],
      [2, "0", null],
      [4, null, 5],
      [5, "0", 5],
    ] as const) {
      expect(checkLooks(outputs(LOOKS_MAX / each, sha256, partBytes), "")).toBeNull();
      const refused = checkLooks(outputs(Math.floor(LOOKS_MAX / each) + 1, sha256, partBytes), "Do less.");
      expect(refused).toMatchObject({
        code: "invalid-body",
        field: "outputs",
        detail: expect.stringMatching(/Do less/),
      });
    }
  });
});

describe("the parts that a commit names", () => {
  it("are so many, of so many outputs; those that are put in one piece need not be named", () => {
    const outputs = (count: number, size: number, partBytes: number | null) =>
      Array.from({ length: count }, () => ({ size, partBytes }));
    expect(checkNamed(outputs(5, 99_996, 10), "")).toBeNull();
    expect(checkNamed([...outputs(5, 99_996, 10), ...outputs(5000, 1, null)], "")).toBeNull();
    for (const tooMuch of [outputs(5, 100_001, 10), outputs(1001, 10, 10)]) {
      const refused = { code: "invalid-body", field: "outputs", detail: expect.stringMatching(/Do less/) };
      expect(checkNamed(tooMuch, "Do less.")).toMatchObject(refused);
    }
  });
});

describe("what is stored with an output", () => {
  it("names its job and announcement; anything else names none", () => {
    expect(generationOf(markOf("job_1", 7), "job_1")).toBe(7);
    expect(generationOf(markOf("job_1", 7), "job_2")).toBeNull();
    for (const text of ["", "0", "-1", "1.5", "1e3", " 1", "9".repeat(16)]) {
      expect(generationOf({ "penstock-job": "job_1", "penstock-output": text }, "job_1"), text).toBeNull();
    }
    expect(generationOf({ "penstock-job": "job_1" }, "job_1")).toBeNull();
  });
});

describe("keys of a request", () => {
  const field = (index: number) => `keys.${index}`;

  it("are R2's spelling of them, or the first that R2 cannot have is named by its field", () => {
    expect(storeKeys(["a", "e\u0301"], field)).toEqual({ ok: true, value: ["a", "\u00e9"] });
    expect(storeKeys(["a", "x".repeat(1025)], field)).toMatchObject({
      failure: { code: "key-too-long", field: "keys.1" },
    });
    expect(checkOnce(["\u00e9", "a", "e\u0301"], field)).toMatchObject({ code: "invalid-body", field: "keys.2" });
    expect(checkOnce(["a", "b"], field)).toBeNull();
    expect(quoted("x".repeat(1000))).toHaveLength(202);
  });
});
