import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { beforeAll, describe, expect, inject, it } from "vitest";
import { app } from "../../workers/gateway/app.ts";
import { envWithSource, fill, text } from "./harness/source.ts";
import { ownSource } from "./harness/own-source.ts";

const TOKEN = "pst_source-check";

interface Answer {
  status: number;
  body: { ok?: boolean; code?: string; steps?: { step: string; ok: boolean; code?: string; detail: string }[] };
}

async function check(source: Parameters<typeof envWithSource>[0], name = "test"): Promise<Answer> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(TOKEN));
  const sha256 = new Uint8Array(digest).toHex();
  const seen = envWithSource(source, { API_TOKENS: JSON.stringify([{ sha256, role: "admin" }]) });
  const ctx = createExecutionContext();
  const headers = { authorization: `Bearer ${TOKEN}` };
  const request = new Request(`https://penstock.example/v1/sources/${name}/check`, { method: "POST", headers });
  const response = await app.fetch(request, seen, ctx);
  const answered = await response.text();
  await waitOnExecutionContext(ctx);
  expect(answered, "no credential in an answer").not.toContain(ownSource().secretAccessKey);
  return { status: response.status, body: JSON.parse(answered) as Answer["body"] };
}

/** The step that failed, and the steps before it that did not. */
function outcome({ status, body }: Answer) {
  const steps = (body.steps ?? []).map(({ step, ok, code }) => (ok ? step : `${step}: ${code ?? ""}`));
  return { status, ok: body.ok, steps };
}

const lastDetail = ({ body }: Answer): string => body.steps?.at(-1)?.detail ?? "";

describe("POST /v1/sources/:source/check says in words what is wrong", () => {
  beforeAll(() => fill("check/", new Map([["a", text("a")]])));

  it("nothing: signs in, lists and reads a range", async () => {
    const answer = await check({});
    expect(outcome(answer)).toEqual({ status: 200, ok: true, steps: ["sign-in", "list", "read"] });
  });

  it("nobody answers at the endpoint", async () => {
    const answer = await check({ endpoint: "http://127.0.0.1:1" });
    expect(outcome(answer)).toEqual({ status: 200, ok: false, steps: ["sign-in: source-unreachable"] });
    expect(lastDetail(answer)).toContain("No answer from 127.0.0.1:1");
  });

  it("the secret is wrong", async () => {
    const answer = await check({ secretAccessKey: "not-the-secret" });
    expect(outcome(answer)).toEqual({ status: 200, ok: false, steps: ["sign-in: source-bad-credentials"] });
    expect(lastDetail(answer)).toContain("SignatureDoesNotMatch");
  });

  it("the access key is unknown", async () => {
    const answer = await check({ accessKeyId: "nobody" });
    expect(outcome(answer)).toEqual({ status: 200, ok: false, steps: ["sign-in: source-bad-credentials"] });
  });

  it("there is no such bucket", async () => {
    const answer = await check({ bucket: "no-such-bucket" });
    expect(outcome(answer)).toEqual({ status: 200, ok: false, steps: ["sign-in", "list: source-no-bucket"] });
  });

  it("the bucket is in another region: the redirect is not followed", async () => {
    const answer = await check({ endpoint: `${inject("faults")}/redirect` });
    expect(outcome(answer)).toEqual({ status: 200, ok: false, steps: ["sign-in: source-wrong-region"] });
    expect(lastDetail(answer)).toContain('The bucket is in region "eu-north-1".');
  });

  it("the credentials may list but not read", async () => {
    const answer = await check({ endpoint: `${inject("faults")}/deny-read` });
    expect(outcome(answer)).toEqual({ status: 200, ok: false, steps: ["sign-in", "list", "read: source-forbidden"] });
    expect(lastDetail(answer)).toContain("may list but not read");
  });

  it("the secret is not set", async () => {
    const answer = await check({ secretAccessKey: "" });
    expect(outcome(answer)).toEqual({ status: 200, ok: false, steps: ["sign-in: source-not-configured"] });
    expect(lastDetail(answer)).toContain("SOURCE_TEST_SECRET_ACCESS_KEY");
  });

  it("404 where the configuration names no such source", async () => {
    const { status, body } = await check({}, "nowhere");
    expect({ status, code: body.code }).toEqual({ status: 404, code: "unknown-source" });
  });
});
