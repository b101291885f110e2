import { describe, expect, it } from "vitest";
import { classify } from "../../workers/adapters/s3-answers.ts";
import { planSeconds, triesMax, waitMs } from "../../workers/core/migration/backoff.ts";

describe("patience", () => {
  it("grows from try to try, to two minutes", () => {
    expect([1, 2, 3, 4, 9].map(planSeconds)).toEqual([2, 8, 32, 120, 120]);
  });

  it("waits for an outage for some quarter of an hour, and less long for an answer that is wrong", () => {
    const waited = (tries: number) =>
      Array.from({ length: tries - 1 }, (_, i) => planSeconds(i + 1)).reduce((sum, seconds) => sum + seconds, 0);
    expect(waited(triesMax("source-throttled"))).toBeGreaterThan(700);
    expect(waited(triesMax("checksum-mismatch"))).toBeLessThan(200);
  });

  it("waits longer where the source asks for it, and never for a year", () => {
    const slow = (seconds: string) =>
      classify(new Response(null, { status: 503, headers: { "retry-after": seconds } }), "", "object");
    expect(waitMs(1, slow("60"))).toBe(60_000);
    expect(waitMs(1, slow("1"))).toBe(2000);
    expect(waitMs(1, slow("999999999"))).toBe(300_000);
  });
});
