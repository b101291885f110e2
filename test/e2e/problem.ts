import { expect } from "vitest";
import { FAILURES, type FailureCode } from "../../workers/core/failure.ts";
import type { RawAnswer } from "./raw-http.ts";

export interface Refusal {
  status: number;
  code: FailureCode;
  field?: string;
}

/** What no refusal may hold: where in our code it was made, or what a runtime says when it is surprised. */
const INSIDES = /\n\s+at |\.ts\b|\.js:|node_modules|TypeError|SyntaxError|SQLITE|ZodError/;

/** A refusal as the design has it: problem+json with every member, and nothing of our insides or of `secrets`. */
export function expectProblem(answer: RawAnswer, { status, code, field }: Refusal, secrets: readonly string[]): void {
  const text = answer.bytes.toString();
  const body = JSON.parse(text) as Record<string, unknown>;
  expect({ status: answer.status, ...body }).toEqual({
    type: `urn:penstock:problem:${code}`,
    code,
    title: FAILURES[code],
    status,
    detail: expect.stringMatching(/\S/) as unknown,
    ...(field === undefined ? {} : { field }),
    requestId: answer.headers["x-request-id"],
  });
  expect(body["requestId"]).toMatch(/^[0-9a-f-]{36}$/);
  expect(answer.headers["content-type"]).toBe("application/problem+json");
  expect(answer.headers["cache-control"]).toContain("no-store");
  expect(answer.headers["x-content-type-options"]).toBe("nosniff");
  expect(answer.headers["www-authenticate"] !== undefined).toBe(status === 401);
  expect(text).not.toMatch(INSIDES);
  for (const secret of secrets) expect(text.includes(secret)).toBe(false);
}
