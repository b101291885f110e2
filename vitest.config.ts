import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

/** Secrets that protect nothing: tests that run inside the runtime mint and check tokens with them. */
const TEST_SECRETS = {
  MASTER_KEYS: `test:${Buffer.alloc(32, 7).toString("base64url")}`,
  API_TOKENS: "[]",
  R2_ENDPOINT: "https://r2.penstock.invalid",
  R2_ACCESS_KEY_ID: "test-access-key",
  R2_SECRET_ACCESS_KEY: "test-secret-key",
};

export default defineConfig({
  test: {
    // What the Worker logs is shown for tests that fail.
    silent: "passed-only",
    projects: [
      // Pure code: no runtime at all.
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"], testTimeout: 60_000 } },
      // Inside workerd: adapters, Durable Objects and consumers, with a real S3 endpoint beside them.
      {
        plugins: [
          cloudflareTest({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: {
                ...TEST_SECRETS,
                METER_FLUSH_SECONDS: 0, // tests wait for what a request does after its answer
                MULTIPART_THRESHOLD_BYTES: 5_242_880,
                PART_BYTES: 5_242_880,
              },
              // Here the tests are the queues: what is sent goes to one that nobody consumes, and is handed to the
              // consumers from the outbox. Real queues deliver in the e2e tests.
              queueProducers: {
                MIGRATION_QUEUE: { queueName: "undelivered" },
                MANIFEST_QUEUE: { queueName: "undelivered" },
              },
            },
          }),
        ],
        test: {
          name: "workerd",
          include: ["test/workerd/**/*.test.ts", "test/contract/**/*.test.ts"],
          globalSetup: ["test/harness/global-setup.ts"],
          // No test fails because the machine is slow: what is left to a deadline hangs for good. Of time that passes by the
          // product's rules, tests are the clock.
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // They wait more than they compute: for alarms, backoffs and silent sources. Each file has a runtime, its storage
          // and a source bucket of its own.
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      // The built Worker under wrangler dev, driven over HTTP from outside.
      {
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
