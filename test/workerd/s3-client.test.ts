import { AwsV4Signer } from "aws4fetch";
import { afterEach, describe, expect, it, vi } from "vitest";
import { createS3Client } from "../../workers/adapters/s3-client.ts";
import type { SourceConfig } from "../../workers/core/source.ts";

const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "not/a+secret" };
const path = { endpoint: "https://s3.example:9000", region: "r-1", bucket: "data", addressing: "path" } as const;
const virtual = { ...path, addressing: "virtual" } as const;
const inFolder = { ...path, endpoint: "http://127.0.0.1/gate/s3" } as const;

afterEach(() => void vi.restoreAllMocks());

/** What goes over the wire for a request, and what aws4fetch would have signed it with. */
async function sent(source: SourceConfig, key: string | null, query: Record<string, string> = {}) {
  const fetched = vi.spyOn(globalThis, "fetch").mockResolvedValue(new Response("", { status: 200 }));
  const client = createS3Client(source, credentials);
  const answer = await client.send({ method: "GET", key, query, asked: "object", seconds: null });
  expect(answer).toMatchObject({ ok: true });
  const [asked, init] = fetched.mock.calls[0] ?? [];
  const url = asked as string;
  const headers = new Headers(init?.headers);
  const signed = await new AwsV4Signer({
    ...credentials,
    region: source.region,
    service: "s3",
    url: url,
    datetime: headers.get("x-amz-date") ?? "",
  }).sign();
  expect(headers.get("authorization")).toBe(signed.headers.get("authorization"));
  // What is signed is what is sent.
  expect(new URL(url).href).toBe(url);
  return url;
}

describe("a request to a source", () => {
  it.each<[string, SourceConfig, string | null, Record<string, string>, string]>([
    ["an object by path", path, "a b/ü", {}, "https://s3.example:9000/data/a%20b/%C3%BC"],
    ["an object by host", virtual, "a", {}, "https://data.s3.example:9000/a"],
    ["an object of an endpoint with a path", inFolder, "/a//b/", {}, "http://127.0.0.1/gate/s3/data//a//b/"],
    ["a dot segment", virtual, "a/../b", {}, "https://data.s3.example:9000/a%2F..%2Fb"],
    ["a bucket by path", path, null, { prefix: "(a) b" }, "https://s3.example:9000/data?prefix=%28a%29%20b"],
    ["a bucket by host", virtual, null, { "list-type": "2" }, "https://data.s3.example:9000/?list-type=2"],
    [
      "a part",
      path,
      "k",
      { uploadId: "x+/=", partNumber: "2" },
      "https://s3.example:9000/data/k?partNumber=2&uploadId=x%2B%2F%3D",
    ],
  ])("names %s", async (_, source, key, query, url) => {
    expect(await sent(source, key, query)).toBe(url);
  });

  it("names a bucket in the host as URLs do, in lower case", async () => {
    expect(await sent({ ...virtual, bucket: "Data" }, "k")).toBe("https://data.s3.example:9000/k");
  });

  it("is not made where the bucket can be in no host", async () => {
    const source = { ...virtual, endpoint: "http://127.0.0.1:9000" };
    const answer = await createS3Client(source, credentials).send({
      method: "GET",
      key: "k",
      asked: "object",
      seconds: 1,
    });
    expect(answer).toMatchObject({ ok: false, failure: { code: "misconfigured" } });
  });

  it("is not made for a key that every URL takes for a step", async () => {
    const fetched = vi.spyOn(globalThis, "fetch");
    const answer = await createS3Client(path, credentials).send({
      method: "GET",
      key: "..",
      asked: "object",
      seconds: 1,
    });
    expect(answer).toMatchObject({ ok: false, failure: { code: "unaddressable-key" } });
    expect(fetched).not.toHaveBeenCalled();
  });
});

describe("the time that a source has", () => {
  afterEach(() => void vi.useRealTimers());

  /** A source that answers its headers after a while, with so many bytes announced. */
  function answering(afterMs: number, length: number): { aborted: () => string | null } {
    let reason: string | null = null;
    vi.spyOn(globalThis, "fetch").mockImplementation(
      (_, init) =>
        new Promise((settle, reject) => {
          init?.signal?.addEventListener("abort", () => {
            reason = String(init.signal?.reason);
            reject(init.signal?.reason as Error);
          });
          setTimeout(() => settle(new Response("", { headers: { "content-length": String(length) } })), afterMs);
        }),
    );
    return { aborted: () => reason };
  }

  /** Once it is asked: a signature takes a moment of real time. */
  async function get(seconds: number | null): Promise<{ answered: Promise<{ ok: boolean }> }> {
    const client = createS3Client(path, credentials);
    const answered = client.send({ method: "GET", key: "k", asked: "object", seconds, answerSeconds: 60 });
    while (vi.mocked(globalThis.fetch).mock.calls.length === 0) await scheduler.wait(1);
    return { answered };
  }

  it.each([
    ["the headers, a minute", 70_000, 10, 500, 60],
    ["a small body, two minutes in all", 1000, 10, 500, 120],
    ["a larger one, what it takes at 16 KiB/s besides", 1000, 1_638_400, 500, 220],
    ["the largest, all that a request has", 1000, 5_000_000_000, 500, 500],
  ])("is limited for %s", async (_, afterMs, length, seconds, endsAt) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const { aborted } = answering(afterMs, length);
    const { answered } = await get(seconds);
    await vi.advanceTimersByTimeAsync(endsAt * 1000 - 100);
    expect(aborted()).toBeNull();
    await vi.advanceTimersByTimeAsync(200);
    expect(aborted()).toContain("it took too long");
    expect((await answered).ok).toBe(afterMs < 60_000);
  });

  it.each([
    ["a reader's", null],
    ["a copy's", 500],
  ])("ends for a refusal whose reason never comes, %s", async (_, seconds) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    vi.spyOn(globalThis, "fetch").mockImplementation(async (__, init) => {
      const body = new ReadableStream({
        start(controller) {
          controller.enqueue(new TextEncoder().encode("<Err"));
          init?.signal?.addEventListener("abort", () => controller.error(init.signal?.reason));
        },
      });
      return new Response(body, { status: 503 });
    });
    const { answered } = await get(seconds);
    await scheduler.wait(5);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await answered).toMatchObject({ ok: false, failure: { code: "source-unavailable" } });
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is a reader's own, once there is an answer", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const { aborted } = answering(1000, 5_000_000);
    const { answered } = await get(null);
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect((await answered).ok).toBe(true);
    expect(aborted()).toBeNull();
    expect(vi.getTimerCount()).toBe(0);
  });
});
