import { env } from "cloudflare:workers";
import { afterAll, inject, it, vi } from "vitest";
import { createDataset, startIsolate } from "./harness/reading.ts";
import { bytesOf, envWithSource, fill } from "./harness/source.ts";
const out: string[] = [];
const show = (n: string, x: unknown) => { out.push(`@@ ${n}: ${JSON.stringify(x)}`); };
afterAll(() => { throw new Error("\n" + out.join("\n")); });

it("T18 a slow reader of a large object at the source", { timeout: 30_000 }, async () => {
  await fill("t18/", new Map([["k", bytesOf(24 * 1024 * 1024, 1)]]));
  const dataset = await createDataset("t18", { read: "source", source: { name: "test", prefix: "t18/" } });
  const r = await startIsolate(dataset, { ...envWithSource({ endpoint: `${inject("faults")}/plain` }) });
  const real = AbortSignal.timeout.bind(AbortSignal);
  const spy = vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => real(ms / 250)); // 500 s -> 2 s
  const { response } = await r.open("k");
  const reader = response.body!.getReader();
  let got = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      got += value.length;
      await new Promise((f) => setTimeout(f, 20));
    }
    show("T18 whole", [response.status, got]);
  } catch (error) { show("T18 cut", [response.status, response.headers.get("content-length"), got, String(error)]); }
  spy.mockRestore();
  void env;
});
