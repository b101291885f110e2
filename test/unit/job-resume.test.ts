import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatState, parseState, type Resumable, type Resume, resumeAt } from "../../workers/core/jobs/resume.ts";
import { jobBodySchema } from "../../workers/core/jobs/request.ts";

const { units } = jobBodySchema.parse({ name: "a", dataset: "era5@1", input: { keys: ["a"] }, units: { epochs: 3 } });
const job = (count = 1000, more: Partial<Resumable["units"]> = {}): Resumable => ({
  unitList: { count, bytes: 0, digest: "f".repeat(64) },
  units: { ...units, ...more },
});
const read = (text: string, of: Resumable) => {
  const parsed = parseState(text);
  return parsed.ok ? resumeAt(parsed.value, of) : parsed;
};
const codeOf = (text: string, of: Resumable) => {
  const parsed = read(text, of);
  return parsed.ok ? "good" : `${parsed.failure.code} ${parsed.failure.field}`;
};
const sortedSet = (max: number) => fc.uniqueArray(fc.nat(max)).map((all) => all.toSorted((a, b) => a - b));

describe("the state of a job", () => {
  test("is read as it was written", () => {
    const property = fc.property(
      sortedSet(999),
      sortedSet(999),
      fc.nat(2),
      fc.nat(20),
      (some, others, epoch, times) => {
        const open = some.filter((position) => !others.includes(position));
        const next = Math.max(-1, ...open, ...others) + 1;
        const failures = open.slice(0, times).map((position): [number, number] => [position, 1 + (position % 5)]);
        const resume: Resume = { epoch, next, open, givenUp: others, failures };
        expect(read(formatState(job(), resume), job())).toEqual({ ok: true, value: resume });
      },
    );
    fc.assert(property);
  });

  test("of a million units fits the request of a job that resumes, however they came to be open", () => {
    const count = 1_000_000;
    const positions = Array.from({ length: count }, (_, position) => position);
    const [open, givenUp] = [positions.filter((each) => each % 2 === 0), positions.filter((each) => each % 2 === 1)];
    const failures = open.map((position): [number, number] => [position, 99]);
    const text = formatState(job(count), { epoch: 2, next: count, open, givenUp, failures });
    const body = { name: "a", dataset: "era5@1", input: { keys: ["a"] }, resumeFrom: text };
    expect(jobBodySchema.safeParse(body).success).toBe(true);
    const parsed = read(text, job(count));
    expect(parsed.ok && [parsed.value.open.length, parsed.value.givenUp.length]).toEqual([count / 2, count / 2]);
  });

  test("is refused by a job of other units or another order, with the way out", () => {
    const text = formatState(job(), { epoch: 2, next: 5, open: [1], givenUp: [], failures: [] });
    expect(codeOf(text, job())).toBe("good");
    const mismatch = "state-mismatch resumeFrom";
    expect(codeOf(text, { ...job(), unitList: { count: 1000, bytes: 0, digest: "e".repeat(64) } })).toBe(mismatch);
    expect(codeOf(text, job(1000, { seed: 1 }))).toBe(mismatch);
    expect(codeOf(text, job(1000, { shuffle: false }))).toBe(mismatch);
    expect(codeOf(text, job(1000, { epochs: 2 }))).toBe(mismatch);
    const seed = read(text, job(1000, { seed: 1 }));
    expect(seed.ok ? "" : seed.failure.detail).toContain("set units.seed to 0");
  });

  test("is refused where it is no state, or one that cannot be", () => {
    const cannot: Resume[] = [
      { epoch: 0, next: 1001, open: [], givenUp: [], failures: [] },
      { epoch: 0, next: 5, open: [5], givenUp: [], failures: [] },
      { epoch: 0, next: 5, open: [], givenUp: [7], failures: [] },
      { epoch: 0, next: 5, open: [1], givenUp: [1], failures: [] },
      { epoch: 0, next: 5, open: [1], givenUp: [], failures: [[2, 1]] },
      {
        epoch: 0,
        next: 5,
        open: [1],
        givenUp: [],
        failures: [
          [1, 1],
          [1, 2],
        ],
      },
    ];
    for (const resume of cannot) expect(codeOf(formatState(job(), resume), job())).toBe("invalid-state resumeFrom");
    for (const times of [0, 101, Number.MAX_SAFE_INTEGER - 1]) {
      const state = formatState(job(), { epoch: 0, next: 1, open: [0], givenUp: [], failures: [[0, times]] });
      expect(codeOf(state, job())).toBe("invalid-state resumeFrom");
    }
    const good = formatState(job(), { epoch: 0, next: 5, open: [1], givenUp: [], failures: [] });
    for (const text of ["", "x", "{}", "e30", good.slice(0, -3), `${good}A`, `${good}==`, good.slice(1)]) {
      expect(codeOf(text, job())).toBe("invalid-state resumeFrom");
    }
  });
});
