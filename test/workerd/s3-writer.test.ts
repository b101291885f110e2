import { afterEach, describe, expect, it, vi } from "vitest";
import { md5Of } from "../../workers/adapters/digest.ts";
import { createS3Store } from "../../workers/adapters/s3-store.ts";
import { createS3Writer } from "../../workers/adapters/s3-writer.ts";
import { bytesOf as bytesIn, expectOk, refused, textAt } from "../contract/given.ts";
import { intercept, refusal, type Wire, withHeaders } from "./harness/intercept.ts";
import { bytesOf, text } from "./harness/source.ts";
import { ownSource } from "./harness/own-source.ts";
import { until } from "./harness/time.ts";

const { endpoint, region, bucket, accessKeyId, secretAccessKey } = ownSource();
const config = { endpoint, region, bucket, addressing: "path" } as const;
const credentials = { accessKeyId, secretAccessKey };
const reader = createS3Store(config, credentials);
const writer = createS3Writer(config, credentials);
afterEach(() => vi.restoreAllMocks());

let serial = 0;
const newKey = (): string => `s3-writer/${++serial}`;
const plain = (bytes: Uint8Array) => ({ http: {}, custom: {}, size: bytes.length });
const put = (key: string, value: string, more: object = {}) =>
  writer.put(key, text(value), { ...plain(text(value)), ...more });
const stream = (bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> => {
  const { readable, writable } = new FixedLengthStream(bytes.length);
  new Blob([bytes])
    .stream()
    .pipeTo(writable)
    .catch(() => undefined); // Whoever wants no more cancels it.
  return readable;
};
const isPut = ({ method }: { method: string }): boolean => method === "PUT";

describe("a put on a condition", () => {
  /** A server that knows no conditions on puts, and ignores them. */
  const ignorant = () => {
    const real = globalThis.fetch.bind(globalThis);
    return vi.spyOn(globalThis, "fetch").mockImplementation(async (...args: Parameters<typeof fetch>) => {
      const request = new Request(...args);
      if (request.method !== "PUT") return real(request);
      const { AwsClient } = await import("aws4fetch");
      const headers = new Headers(request.headers);
      for (const name of ["if-none-match", "if-match", "authorization", "x-amz-date"]) headers.delete(name);
      const client = new AwsClient({ ...credentials, region, service: "s3", retries: 0 });
      return real(await client.sign(request.url, { method: "PUT", headers, body: await request.arrayBuffer() }));
    });
  };

  it("writes over nothing, not even at a server that ignores conditions", async () => {
    const [taken, changed, gone] = [newKey(), newKey(), newKey()];
    await put(taken, "old");
    const { etag } = expectOk(await put(changed, "old"));
    await put(changed, "newer");
    ignorant();
    expect(await put(taken, "new", { onlyIf: "absent" })).toMatchObject(refused("precondition-failed"));
    expect(await put(changed, "new", { onlyIf: { etag } })).toMatchObject(refused("precondition-failed"));
    expect(await put(gone, "new", { onlyIf: { etag } })).toMatchObject(refused("precondition-failed"));
    vi.restoreAllMocks();
    expect(await textAt(reader, taken)).toBe("old");
    expect(await textAt(reader, changed)).toBe("newer");
    expect(await reader.head(gone)).toMatchObject(refused("object-not-found"));
  });

  it("is sent with it, for what is put after the look", async () => {
    const [absent, over] = [newKey(), newKey()];
    const { etag } = expectOk(await put(over, "old"));
    const wires = intercept();
    expectOk(await put(absent, "new", { onlyIf: "absent" }));
    expectOk(await put(over, "new", { onlyIf: { etag } }));
    const conditions = wires
      .filter(isPut)
      .map(({ headers }) => [headers.get("if-none-match"), headers.get("if-match")]);
    expect(conditions).toEqual([
      ["*", null],
      [null, `"${etag}"`],
    ]);
  });

  it("that somebody's put comes before is a failed precondition: theirs stays", async () => {
    const key = newKey();
    intercept(async (wire, pass) => {
      if (!isPut(wire) || wire.headers.get("if-none-match") === null) return pass();
      expectOk(await put(key, "theirs"));
      return pass();
    });
    expect(await put(key, "ours", { onlyIf: "absent" })).toMatchObject(refused("precondition-failed"));
    vi.restoreAllMocks();
    expect(await textAt(reader, key)).toBe("theirs");
  });

  it.each(["absent" as const, { etag: "0123456789abcdef0123456789abcdef" }])(
    "that the server does not know (501) is source-unsupported, for good, and not tried without: %j",
    async (onlyIf) => {
      const key = newKey();
      const wires = intercept((wire) => {
        if (isPut(wire)) return refusal(501, "NotImplemented");
        if (onlyIf === "absent") return new Response(null, { status: 404 });
        return new Response(null, { headers: { etag: `"${onlyIf.etag}"`, "content-length": "1" } });
      });
      const answer = await put(key, "new", { onlyIf });
      expect(answer).toMatchObject(refused("source-unsupported"));
      expect(JSON.stringify(answer)).toContain(onlyIf === "absent" ? "If-None-Match" : "If-Match");
      expect(wires.filter(isPut)).toHaveLength(1);
    },
  );

  it("is not made where the look fails: the object may be there", async () => {
    const wires = intercept(() => refusal(503, ""));
    expect(await put(newKey(), "new", { onlyIf: "absent" })).toMatchObject(refused("source-unavailable"));
    expect(wires.filter(isPut)).toEqual([]);
  });

  it("is asked again later where another write of the key is under way (409)", async () => {
    intercept((wire) =>
      isPut(wire) ? refusal(409, "ConditionalRequestConflict") : new Response(null, { status: 404 }),
    );
    expect(await put(newKey(), "x", { onlyIf: "absent" })).toMatchObject(refused("source-unavailable"));
  });
});

describe("what a put's answer says", () => {
  const OTHER = '"0123456789abcdef0123456789abcdef"';
  /** The server stored other bytes: its ETag, of the put and of what is then there, is not their MD5. */
  const storing = (etag: string, more: Record<string, string> = {}) =>
    intercept((_wire, pass) => withHeaders(pass(), { etag, ...more }));

  it.each(["bytes", "a stream", "a stream whose MD5 is known"])(
    "of other bytes than were sent is a mismatch, and they are taken away: %s",
    async (kind) => {
      const key = newKey();
      const bytes = bytesOf(100_000, 1);
      const body = kind === "bytes" ? bytes : stream(bytes);
      const md5 = kind === "a stream whose MD5 is known" ? { md5: await md5Of(bytes) } : {};
      storing(OTHER);
      const answer = await writer.put(key, body, { ...plain(bytes), ...md5 });
      expect(answer).toMatchObject(refused("checksum-mismatch"));
      vi.restoreAllMocks();
      expect(await reader.head(key)).toMatchObject(refused("object-not-found"));
    },
  );

  it("is left alone where somebody has put another object since", async () => {
    const key = newKey();
    // The put is answered with the ETag of other bytes; what is then there has yet another one, and is somebody's.
    intercept((wire, pass) => (isPut(wire) ? withHeaders(pass(), { etag: OTHER }) : pass()));
    expect(await put(key, "x")).toMatchObject(refused("checksum-mismatch"));
    vi.restoreAllMocks();
    expect(await textAt(reader, key)).toBe("x");
  });

  it("of encrypted objects, and an ETag that is no MD5, is believed", async () => {
    for (const [etag, more] of [
      [OTHER, { "x-amz-server-side-encryption": "aws:kms" }],
      [OTHER, { "x-amz-server-side-encryption-customer-algorithm": "AES256" }],
      ['"opaque"', {}],
    ] as const) {
      const key = newKey();
      storing(etag, more);
      expect(expectOk(await put(key, "x"))).toMatchObject({ etag: etag.replaceAll('"', ""), md5: null });
      vi.restoreAllMocks();
      expect(await textAt(reader, key)).toBe("x");
    }
  });

  it("of an object that is another one right after is no success", async () => {
    intercept((wire, pass) => (wire.method === "HEAD" ? withHeaders(pass(), { etag: OTHER }) : pass()));
    expect(await put(newKey(), "x")).toMatchObject(refused("source-changed"));
  });

  it("without an ETag is no success: a portal answers 200 as well", async () => {
    intercept((wire, pass) => (isPut(wire) ? new Response("<p>Please sign in.") : pass()));
    expect(await put(newKey(), "x")).toMatchObject(refused("source-bad-answer"));
    const bytes = bytesOf(3_000_000, 2);
    expect(await writer.put(newKey(), stream(bytes), plain(bytes))).toMatchObject(refused("source-bad-answer"));
  });
});

describe("a refusal", () => {
  const wrong = createS3Writer(config, { accessKeyId, secretAccessKey: "wrong" });

  it("of the credentials is named, whatever is asked", async () => {
    const answers = [
      await wrong.put(newKey(), text("x"), plain(text("x"))),
      await wrong.createUpload(newKey(), { http: {}, custom: {} }),
      await wrong.uploadPart(newKey(), "u", 1, text("x"), 1),
      await wrong.completeUpload(newKey(), "u", [{ partNumber: 1, etag: "e" }]),
      await wrong.abortUpload(newKey(), "u"),
      await wrong.delete(newKey()),
    ];
    for (const answer of answers) expect(answer).toMatchObject(refused("source-bad-credentials"));
  });

  it("that comes before a large body was read keeps nobody waiting", async () => {
    // The server ends the connection under what is still being sent: how much of its answer is seen before that is chance.
    const seen = ["source-bad-credentials", "source-forbidden", "source-unreachable"];
    const bytes = bytesOf(8_000_000, 3);
    const md5 = { md5: await md5Of(bytes) };
    for (const [body, more] of [
      [stream(bytes), md5],
      [bytes, md5],
      [stream(bytes), {}],
    ] as const) {
      const answer = await wrong.put(newKey(), body, { ...plain(bytes), ...more });
      expect(seen).toContain(answer.ok ? "" : answer.failure.code);
    }
  });

  it.each([
    [403, "AccessDenied", "source-forbidden"],
    [403, "QuotaExceeded", "source-forbidden"],
    [404, "NoSuchBucket", "source-no-bucket"],
    [400, "BadDigest", "checksum-mismatch"],
    [400, "MetadataTooLarge", "metadata-too-large"],
    [400, "EntityTooLarge", "object-too-large"],
    [400, "KeyTooLongError", "key-too-long"],
    [400, "RequestTimeout", "source-unavailable"],
    [503, "SlowDown", "source-throttled"],
    [301, "PermanentRedirect", "source-wrong-region"],
    [500, "InternalError", "source-unavailable"],
  ] as const)("of %d %s is %s", async (status, code, wanted) => {
    intercept((wire, pass) => (isPut(wire) ? refusal(status, code) : pass()));
    expect(await put(newKey(), "x")).toMatchObject(refused(wanted));
  });

  it("of a key that no URL leads to is made here", async () => {
    for (const key of [".", ".."]) {
      expect(await put(key, "x")).toMatchObject(refused("unaddressable-key"));
      expect(await writer.delete(key)).toMatchObject(refused("unaddressable-key"));
      expect(await writer.createUpload(key, { http: {}, custom: {} })).toMatchObject(refused("unaddressable-key"));
      expect(await writer.uploadPart(key, "u", 1, text("x"), 1)).toMatchObject(refused("unaddressable-key"));
    }
  });
});

describe("the completion of an upload", () => {
  const answering = (answer: Response) => intercept((wire, pass) => (wire.method === "POST" ? answer.clone() : pass()));
  const complete = () => writer.completeUpload(newKey(), "upload", [{ partNumber: 1, etag: "e" }]);

  it.each([
    ["InternalError", "source-unavailable"],
    ["SlowDown", "source-throttled"],
    ["NoSuchUpload", "upload-lost"],
    ["InvalidPart", "upload-lost"],
    ["EntityTooSmall", "upload-lost"],
  ] as const)("that is answered 200 and then says %s has failed: %s", async (code, wanted) => {
    answering(new Response(await refusal(200, code).text()));
    expect(await complete()).toMatchObject(refused(wanted));
  });

  it("that is answered with anything else has not succeeded", async () => {
    for (const body of ["", "<html>", "   \n<CompleteMultipartUploadResult/>"]) {
      answering(new Response(body));
      expect(await complete(), body).toMatchObject(refused("source-bad-answer"));
      vi.restoreAllMocks();
    }
  });
});

describe("the completion of an upload on a condition", () => {
  const create = async (key: string) => {
    const uploadId = expectOk(await writer.createUpload(key, { http: {}, custom: {} }));
    const etag = expectOk(await writer.uploadPart(key, uploadId, 1, text("ours"), 4));
    return { uploadId, parts: [{ partNumber: 1, etag }] };
  };
  const isComplete = ({ method, query }: Wire): boolean => method === "POST" && query.has("uploadId");

  it("is sent with it, and without one where there is none", async () => {
    const wires = intercept((wire, pass) => (isComplete(wire) ? refusal(503, "SlowDown") : pass()));
    for (const onlyIf of ["absent" as const, { etag: "e" }, undefined]) {
      await writer.completeUpload(newKey(), "upload", [{ partNumber: 1, etag: "e" }], onlyIf);
    }
    const names = ["if-none-match", "if-match"];
    expect(wires.map(({ headers }) => names.map((name) => headers.get(name)))).toEqual([
      ["*", null],
      [null, '"e"'],
      [null, null],
    ]);
  });

  it("that holds is like any other", async () => {
    const key = newKey();
    const { uploadId, parts } = await create(key);
    expectOk(await writer.completeUpload(key, uploadId, parts, "absent"));
    expect(await textAt(reader, key)).toBe("ours");
  });

  it.each([
    ["by its status", () => refusal(412, "PreconditionFailed"), "precondition-failed"],
    ["in the body of a 200", () => refusal(200, "PreconditionFailed"), "precondition-failed"],
    ["for there is nothing to write over", () => refusal(404, "NoSuchKey"), "precondition-failed"],
    ["for the server knows none here", () => refusal(501, "NotImplemented"), "source-unsupported"],
    ["for another write is under way", () => refusal(409, "ConditionalRequestConflict"), "source-unavailable"],
  ] as const)("that is refused %s has written nothing", async (_, answer, wanted) => {
    const wires = intercept((wire, pass) => (isComplete(wire) ? answer() : pass()));
    const refusedAs = await writer.completeUpload(newKey(), "upload", [{ partNumber: 1, etag: "e" }], { etag: "e" });
    expect(refusedAs).toMatchObject(refused(wanted));
    expect(wires).toHaveLength(1);
  });
});

describe("the time that a write takes", () => {
  afterEach(() => vi.useRealTimers());

  /** A server that takes the body, and answers, after so many seconds. */
  async function takes(seconds: number, write: () => Promise<unknown>): Promise<unknown> {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const fetched = vi.spyOn(globalThis, "fetch").mockImplementation(
      ((_: Request, { signal }: RequestInit) =>
        new Promise((answer, refuse) => {
          signal?.addEventListener("abort", () => refuse(signal.reason as Error));
          const done = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>";
          setTimeout(() => answer(new Response(done, { headers: { etag: '"e"' } })), seconds * 1000);
        })) as typeof fetch,
    );
    const written = write();
    await until(() => fetched.mock.calls.length > 0);
    await vi.advanceTimersByTimeAsync(seconds * 1000);
    return written;
  }

  it("may be minutes, for the headers of its answer come after its body: a part", async () => {
    const part = await takes(400, () => writer.uploadPart(newKey(), "upload", 1, text("x"), 1));
    expect(part).toEqual({ ok: true, value: "e" });
  });

  it("is bounded all the same: a consumer lives fifteen minutes", async () => {
    const part = await takes(501, () => writer.uploadPart(newKey(), "upload", 1, text("x"), 1));
    expect(part).toMatchObject(refused("source-unreachable"));
  });

  it("of what carries nothing is a minute", async () => {
    expect(await takes(59, () => writer.delete(newKey()))).toMatchObject({ ok: true });
    vi.restoreAllMocks();
    expect(await takes(61, () => writer.delete(newKey()))).toMatchObject(refused("source-unreachable"));
  });
});

describe("a key on the wire", () => {
  it.each(["a b+c%2F&d=e", "a//b/", "日本/語?x=1#y", "'(*)!~"])("%j is that key", async (name) => {
    const key = `${newKey()}/${name}`;
    expectOk(await put(key, name));
    expect(await textAt(reader, key)).toBe(name);
    const uploadId = expectOk(await writer.createUpload(`${key}m`, { http: {}, custom: {} }));
    const etag = expectOk(await writer.uploadPart(`${key}m`, uploadId, 1, text(name), text(name).length));
    expectOk(await writer.completeUpload(`${key}m`, uploadId, [{ partNumber: 1, etag }]));
    expect(await bytesIn(expectOk(await reader.get(`${key}m`)).body)).toEqual(text(name));
    expectOk(await writer.delete(key));
    expect(await reader.head(key)).toMatchObject(refused("object-not-found"));
  });
});
