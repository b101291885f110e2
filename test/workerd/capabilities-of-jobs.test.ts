import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { env } from "cloudflare:workers";
import { revokedByJob } from "../../workers/adapters/revocation.ts";

/** A job that answers as the test says, and counts how often it is asked. */
function job(answer: () => Promise<boolean>) {
  let asked = 0;
  const hasEnded = () => {
    asked++;
    return answer();
  };
  const stub = { getByName: () => ({ hasEnded }) };
  return { of: { ...env, GPU_JOB: stub as unknown as Env["GPU_JOB"] }, asked: () => asked };
}
const running = async () => false;
const ended = async () => true;
const unreachable = () => Promise.reject(new Error("The object was reset."));
const silent = () => new Promise<boolean>(() => undefined);

const codeOf = async (of: Env, id: string) => (await revokedByJob(of, id))?.code ?? "good";
const after = (ms: number) => vi.advanceTimersByTimeAsync(ms);
let id = "";
let named = 0;

beforeEach(() => {
  id = `job_${++named}`; // An isolate remembers answers: each test has a job of its own.
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

describe("whether a job has ended", () => {
  it("is asked once a minute while it runs, and known within a minute of its end", async () => {
    let answer = running;
    const { of, asked } = job(() => answer());
    for (let again = 0; again < 100; again++) expect(await codeOf(of, id)).toBe("good");
    expect(asked()).toBe(1);
    answer = ended;
    await after(59_999);
    expect(await codeOf(of, id)).toBe("good");
    await after(1);
    expect(await codeOf(of, id)).toBe("revoked-token");
    expect(asked()).toBe(2);
  });

  it("is not asked again once it is known, for a job ends once", async () => {
    const { of, asked } = job(ended);
    expect(await codeOf(of, id)).toBe("revoked-token");
    await after(86_400_000);
    expect(await codeOf(job(unreachable).of, id)).toBe("revoked-token");
    expect(asked()).toBe(1);
  });

  it("is one question, however many requests want to know at once, first or when the answer is old", async () => {
    const { of, asked } = job(async () => {
      await new Promise((done) => {
        setTimeout(done, 500);
      });
      return false;
    });
    for (const questions of [1, 2]) {
      const many = Promise.all(Array.from({ length: 200 }, () => codeOf(of, id)));
      await after(500);
      expect(new Set(await many)).toEqual(new Set(["good"]));
      expect(asked()).toBe(questions);
      await after(60_000);
    }
  });

  it("has an answer as old as its question: what took seconds to arrive holds for seconds less", async () => {
    let answer = () =>
      new Promise<boolean>((done) => {
        setTimeout(() => done(false), 5000);
      });
    const { of, asked } = job(() => answer());
    const first = codeOf(of, id);
    await after(5000);
    expect(await first).toBe("good");
    answer = ended; // It ended just after it was asked.
    await after(54_999);
    expect(await codeOf(of, id)).toBe("good");
    await after(1);
    expect(await codeOf(of, id)).toBe("revoked-token");
    expect(asked()).toBe(2);
  });
});

describe("a job that cannot be asked", () => {
  it("is as it was for five minutes from the last question that was answered, and then 503", async () => {
    let answer: () => Promise<boolean> = running;
    const { of } = job(() => answer());
    expect(await codeOf(of, id)).toBe("good");
    answer = unreachable;
    await after(299_999);
    expect(await codeOf(of, id)).toBe("good");
    await after(1);
    expect(await codeOf(of, id)).toBe("store-unavailable");
    answer = running;
    expect(await codeOf(of, id)).toBe("good");
  });

  it("and never was is 503, to all who ask at once by one question", async () => {
    const { of, asked } = job(unreachable);
    const many = await Promise.all(Array.from({ length: 50 }, () => codeOf(of, id)));
    expect(new Set(many)).toEqual(new Set(["store-unavailable"]));
    expect(asked()).toBe(1);
  });
});

describe("a job that does not answer", () => {
  it("keeps a request for two seconds where there is an answer to fall back on, and for ten where there is none", async () => {
    let answer: () => Promise<boolean> = silent;
    const { of, asked } = job(() => answer());
    let first = "waiting";
    const none = codeOf(of, id).then((code) => (first = code));
    await after(9999);
    expect(first).toBe("waiting");
    await after(1);
    await none;
    expect(first).toBe("store-unavailable");

    answer = running;
    expect(await codeOf(of, id)).toBe("good"); // A question that is ten seconds old is not waited for.
    expect(asked()).toBe(2);

    answer = silent;
    await after(60_000);
    let later = "waiting";
    const held = codeOf(of, id).then((code) => (later = code));
    await after(1999);
    expect(later).toBe("waiting");
    await after(1);
    await held;
    expect(later).toBe("good");
  });

  it("does not bring back a job that has ended, when it answers an older question last", async () => {
    const late: ((value: boolean) => void)[] = [];
    let answer: () => Promise<boolean> = () => new Promise((done) => late.push(done));
    const { of } = job(() => answer());
    const first = codeOf(of, id);
    await after(3000);
    answer = ended;
    expect(await codeOf(of, id)).toBe("revoked-token");
    late[0]?.(false);
    expect(await first).toBe("good");
    expect(await codeOf(of, id)).toBe("revoked-token");
  });
});

it("a question is handed to the request's waitUntil, so that it outlives the client who caused it", async () => {
  const { of } = job(running);
  const owned: Promise<unknown>[] = [];
  await revokedByJob(of, id, (work) => owned.push(work));
  await revokedByJob(of, id, (work) => owned.push(work));
  expect(owned).toHaveLength(1);
  expect(await owned[0]).toEqual({ ok: true, value: { ended: false } });
});
