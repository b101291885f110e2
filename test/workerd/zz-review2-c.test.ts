import { env } from "cloudflare:workers";
import { afterAll, it, vi } from "vitest";
import { ReadCounts } from "../../workers/core/metering/read-counts.ts";
import { bytesOf, envWith, fill, PART_BYTES } from "./harness/source.ts";
import { deliverMiss, missOf, registerThrough, rowAt } from "./harness/through.ts";
import { notingUploads } from "./harness/uploads.ts";
const out: string[] = [];
const show = (n: string, x: unknown) => { out.push(`@@ ${n}: ${JSON.stringify(x)}`); };
afterAll(() => { throw new Error("\n" + out.join("\n")); });

it("T15 concurrent copies of one object", async () => {
  await registerThrough("t15");
  const stored = await fill("t15/", new Map([["x", bytesOf(2 * PART_BYTES + 5, 1)]]));
  const { bucket, created } = notingUploads();
  const seen = envWith("plain", { DATASETS: bucket });
  const fetches = vi.spyOn(globalThis, "fetch");
  const m = missOf("t15", "x", stored.get("x")!);
  await Promise.all(Array.from({ length: 6 }, () => deliverMiss(m, seen)));
  show("T15 uploads created, source requests", [created.length, fetches.mock.calls.length]);
  fetches.mockRestore();
});

it("T16 redelivery downgrades the proof", async () => {
  await registerThrough("t16");
  const stored = await fill("t16/", new Map([["x", bytesOf(2 * PART_BYTES + 5, 1)]]));
  const m = missOf("t16", "x", stored.get("x")!);
  const { beforeDatasetCall } = await import("./harness/through.ts");
  let n = 0;
  const dying = beforeDatasetCall(envWith("plain"), "applyRows", () => { if (n++ === 0) throw new Error("reset"); });
  show("T16 first", await deliverMiss(m, dying));
  show("T16 second", await deliverMiss(m, dying));
  show("T16 proof", (await rowAt("t16", "x"))?.proof);
});

it("T17 one lost answer, half an hour of quiet", async () => {
  let k = 0;
  const job = new Map<string, number>();
  const counts = new ReadCounts(() => `r${k++}`, () => undefined);
  const ev = { datasetId: "d", datasetName: "d", job: "j", outcome: "hit" as const, bytes: 1, status: 200 };
  counts.count(ev, 0);
  for (const u of counts.unreported(10_000)) job.set(u.reading.reader, u.reading.total.requests); // noted, answer lost
  counts.count(ev, 1_900_000);
  for (const u of counts.unreported(1_910_000)) { job.set(u.reading.reader, u.reading.total.requests); counts.acknowledge(u, 1_910_000); }
  show("T17 reads 2, job says", [...job.values()].reduce((a, b) => a + b, 0));
});
