import { describe, expect, it } from "vitest";
import { type Asked, classify, parseInfo } from "../../workers/adapters/s3-answers.ts";

const refusal = (code: string): string =>
  `<?xml version="1.0"?><Error><Code>${code}</Code><Message>m</Message></Error>`;
const of404 = (body: string, asked: Asked) => classify(new Response(null, { status: 404 }), body, asked).code;

describe("a source's 404", () => {
  it("to a GET is a missing object only where it says NoSuchKey", () => {
    expect(of404(refusal("NoSuchKey"), "object")).toBe("object-not-found");
    const others = ["", "404 Not Found", "<html><h1>404</h1></html>", refusal(""), refusal("NoSuchVersion")];
    for (const body of others) expect(of404(body, "object"), body).toBe("source-bad-answer");
  });

  it("to a HEAD has no body, and is taken at its word", () => {
    expect(of404("", "headers")).toBe("object-not-found");
  });

  it("names the bucket or the credentials where it says so, whatever was asked", () => {
    for (const asked of ["object", "headers", "listing"] as const) {
      expect(of404(refusal("NoSuchBucket"), asked)).toBe("source-no-bucket");
      expect(of404(refusal("XAdminUserNotFound"), asked)).toBe("source-bad-credentials");
    }
  });
});

describe("an object's headers tell", () => {
  const told = (headers: Record<string, string>) => {
    const info = parseInfo("k", new Response(null, { headers: { etag: '"e"', "content-length": "1", ...headers } }));
    if (!info.ok) throw new Error(info.failure.detail);
    const { storageClass, tagCount } = info.value;
    return { storageClass, tagCount };
  };

  it("its storage class, where it is not the standard one", () => {
    expect(told({ "x-amz-storage-class": "GLACIER_IR" }).storageClass).toBe("GLACIER_IR");
    for (const standard of ["STANDARD", "", "no name", "X".repeat(65)]) {
      expect(told({ "x-amz-storage-class": standard }), standard).not.toHaveProperty("storageClass", expect.anything());
    }
    expect(told({})).toEqual({ storageClass: undefined, tagCount: undefined });
  });

  it("how many tags it has, where there are any", () => {
    expect(told({ "x-amz-tagging-count": "2" }).tagCount).toBe(2);
    for (const none of ["0", "", "many", "-1"]) {
      expect(told({ "x-amz-tagging-count": none }), none).not.toHaveProperty("tagCount", expect.anything());
    }
  });
});
