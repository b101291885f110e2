import { describe, expect, test } from "vitest";
import { refusedImports } from "../check/imports.ts";

describe("the import rules refuse", () => {
  test.each([
    ["workers/core/a.ts", `import { z } from "hono";`],
    ["workers/core/a.ts", `import type { Store } from "../ports/object-store.ts";`],
    ["workers/core/http/a.ts", `export * from "../../adapters/memo.ts";`],
    ["workers/core/a.ts", `import "node:fs";`],
    ["workers/ports/a.ts", `import { memo } from "../adapters/memo.ts";`],
    ["workers/adapters/a.ts", `import { Hono } from "hono/tiny";`],
    ["workers/adapters/a.ts", `import type { Ctx } from "../gateway/context.ts";`],
    ["workers/adapters/a.ts", `import type { Dataset } from "../../durable-objects/dataset/dataset.ts";`],
    ["workers/gateway/a.ts", `import { ACK } from "../../queues/settle.ts";`],
    ["workers/gateway/a.ts", `export { Dataset } from "../../durable-objects/dataset/dataset.ts";`],
    ["queues/a/b.ts", `const gateway = await import("../../workers/gateway/app.ts");`],
    ["queues/a/b.ts", `import { Dataset } from "../../durable-objects/dataset/dataset.ts";`],
    ["queues/a/b.ts", `import { type Row } from "../../durable-objects/dataset/dataset.ts";`],
    ["durable-objects/a/b.ts", `import type { Settlement } from "../../queues/settle.ts";`],
    ["durable-objects/a/b.ts", `import { app } from "../../workers/gateway/app.ts";`],
    ["workers/cron.ts", `import { app } from "./gateway/app.ts";`],
    ["workers/index.ts", `import { bytes } from "../test/harness/client.ts";`],
    ["queues/a/b.ts", `import { job } from "../../examples/penstock-job.ts";`],
  ])("%s: %s", (file, source) => {
    expect(refusedImports(file, source)).toHaveLength(1);
  });

  test("and say where, what, and the way out", () => {
    const source = `import { ok } from "./result.ts";\n\nimport { Hono } from "hono";\n`;
    expect(refusedImports("workers/core/a.ts", source)).toEqual([
      expect.stringMatching(/^workers\/core\/a\.ts:3: workers\/core\/ may not import from "hono"\. .+/),
    ]);
  });
});

describe("the import rules allow", () => {
  test.each([
    ["workers/core/http/a.ts", `import * as z from "zod"; import { ok } from "../result.ts";`],
    [
      "workers/adapters/a.ts",
      `import { AwsClient } from "aws4fetch"; import type { S } from "../ports/object-store.ts";`,
    ],
    ["workers/gateway/a.ts", `import { Hono } from "hono"; export { ok } from "../core/result.ts";`],
    ["workers/gateway/a.ts", `import type { Row } from "../../durable-objects/dataset/dataset.ts";`],
    [
      "queues/a/b.ts",
      `import type { Row } from "../../durable-objects/dataset/dataset.ts"; import { A } from "../a.ts";`,
    ],
    ["durable-objects/a/b.ts", `import { DurableObject } from "cloudflare:workers"; import { o } from "../outbox.ts";`],
    ["workers/index.ts", `export { Dataset } from "../durable-objects/dataset/dataset.ts";`],
  ])("%s: %s", (file, source) => {
    expect(refusedImports(file, source)).toEqual([]);
  });
});
