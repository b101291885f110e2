// The program's table of contents.
import { consumeDeadLetters } from "../queues/dead-letter/consumer.ts";
import { consumeManifest } from "../queues/manifest/consumer.ts";
import { consumeMigration } from "../queues/migration/consumer.ts";
import { tick } from "./cron.ts";
import { app } from "./gateway/app.ts";
import { createDataPlane } from "./gateway/read/data-plane.ts";
import { findSealed } from "./adapters/sealed-versions.ts";

export { Dataset } from "../durable-objects/dataset/dataset.ts";
export { Directory } from "../durable-objects/directory/directory.ts";
export { GpuJob } from "../durable-objects/gpu-job/gpu-job.ts";
export { Migration } from "../durable-objects/migration/migration.ts";
export { Source } from "../durable-objects/source/source.ts";

const CONSUMERS: Record<string, (batch: MessageBatch, env: Env) => Promise<void>> = {
  "penstock-migration": consumeMigration,
  "penstock-manifest": consumeManifest,
  "penstock-dead-letter": consumeDeadLetters,
};

const data = createDataPlane(findSealed);

export default {
  fetch: (request, env, ctx) => data(request, env, ctx) ?? app.fetch(request, env, ctx),

  async queue(batch, env) {
    const consume = CONSUMERS[batch.queue];
    if (consume === undefined) throw new Error(`No consumer for the queue "${batch.queue}".`);
    await consume(batch, env);
  },

  async scheduled(controller, env) {
    await tick(controller.scheduledTime, env);
  },
} satisfies ExportedHandler<Env>;
