import { afterEach, describe, expect, it, vi } from "vitest";
import { carry } from "./harness/delivery.ts";
import { expectExact } from "./harness/expect-exact.ts";
import { intercept } from "./harness/intercept.ts";
import { registerDataset, startRun, statusOf } from "./harness/run.ts";
import { bytesOf, envWithSource, fill, PART_BYTES, text } from "./harness/source.ts";

afterEach(() => void vi.restoreAllMocks());

describe("an object that is copied whole", () => {
  it.each([
    ["of no bytes", "one-empty", bytesOf(0, 1), {}],
    ["of one byte", "one-byte", bytesOf(1, 1), {}],
    ["of a mebibyte and a half", "one-larger", bytesOf(1_572_864, 2), {}],
    ["as large as is copied whole", "one-largest", bytesOf(PART_BYTES, 3), {}],
    ["whose bytes are encoded", "one-encoded", text("encoded"), { "content-encoding": "zstd" }],
  ])("is read once, at its first try, %s", async (_, name, bytes, headers) => {
    const source = await fill(`${name}/`, new Map([["object", bytes]]), { headers });
    await registerDataset(name, `${name}/`);
    const run = await startRun(name, envWithSource({}));
    const wires = intercept();
    await carry(run);
    const reads = wires.filter(({ method, path }) => method === "GET" && path.endsWith("/object"));
    expect(reads).toHaveLength(1);
    expect(await statusOf(run)).toMatchObject({ state: "done", proofs: { md5: 1 } });
    await expectExact(run, source);
  });

  it("is read again where its body broke off, and then the source is named", async () => {
    const name = "one-broken";
    await fill(`${name}/`, new Map([["object", bytesOf(100_000, 4)]]));
    await registerDataset(name, `${name}/`);
    const run = await startRun(name, envWithSource({}));
    const wires = intercept(async ({ path, method }, pass) => {
      const real = await pass();
      if (method !== "GET" || !path.endsWith("/object")) return real;
      const { readable, writable } = new FixedLengthStream(100_000);
      void (async () => {
        const writer = writable.getWriter();
        await writer.write((await real.bytes()).subarray(0, 60_000)).catch(() => undefined);
        await writer.abort(new Error("connection reset")).catch(() => undefined);
      })();
      return new Response(readable, { headers: real.headers });
    });
    await carry(run);
    const reads = wires.filter(({ method, path }) => method === "GET" && path.endsWith("/object"));
    expect(reads.length).toBeGreaterThan(1);
    const { failed, failures } = await statusOf(run);
    expect(failed).toMatchObject({ objects: 1 });
    expect(failures).toMatchObject([{ key: "object", code: "source-truncated" }]);
  });
});
