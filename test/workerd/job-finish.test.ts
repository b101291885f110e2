import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { apiTokens } from "./harness/api.ts";
import { codeOf, first, freshJobs, heldStill, pass, text } from "./harness/output-jobs.ts";
import { deliverOutbox, outputIn, putBy } from "./harness/outputs.ts";
import { must } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});
heldStill();

const fresh = freshJobs("finish", () => seen);
const small = { key: "runs/a", size: 5 };

describe("a finish", () => {
  it("that has died lets the job go on after a while: nodes are given units again", async () => {
    const at = await fresh();
    must(await at.job.beginFinish("done"));
    const lease = { node: "node-0", request: "r", count: 1 };
    pass(899_999);
    await at.ask("heartbeat", { node: "node-0" });
    expect(codeOf(await at.ask("leases", lease))).toEqual([409, "job-finishing"]);
    pass(1);
    await runDurableObjectAlarm(at.job);
    expect(must(await at.job.status()).state).toBe("running");
    expect(codeOf(await at.ask("leases", lease))).not.toContain("job-finishing");
  });

  it("is not lost while it looks, however long no node says anything, and counts as a word of one", async () => {
    const at = await fresh({ heartbeatTimeoutSeconds: 10, lostAfterSeconds: 30 });
    await at.ask("heartbeat", { node: "node-0" });
    const { attempt } = must(await at.job.beginFinish("done"));
    pass(600_000);
    await runDurableObjectAlarm(at.job);
    expect(must(await at.job.goOn(attempt))).toBe("running");
    pass(29_999);
    expect(must(await at.job.status()).state).toBe("running");
    const again = must(await at.job.beginFinish("done"));
    pass(600_000);
    expect(must(await at.job.finish("done", [], again.attempt))).toBe("done");
  });

  it("of which the job cannot be asked in the middle is 503, and the job goes on at once", async () => {
    const at = await fresh();
    for (const method of ["announced", "finish"] as const) {
      const getByName = (name: string) =>
        new Proxy(env.GPU_JOB.getByName(name), {
          get: (target, property) =>
            property === method
              ? () => Promise.reject(new Error("The object was reset."))
              : (Reflect.get(target, property) as unknown),
        });
      const away = { ...seen, GPU_JOB: { getByName } as unknown as Env["GPU_JOB"] };
      expect(codeOf(await at.ask("finish", {}, away)), method).toEqual([503, "store-unavailable"]);
      expect(must(await at.job.status()).state, method).toBe("running");
    }
  });

  it("takes nothing new: what is announced while it looks is refused", async () => {
    const at = await fresh();
    await putBy(first(await at.announce([small])), "12345");
    must(await at.job.beginFinish("done"));
    const outputs = [{ key: "runs/b", size: 5 }];
    expect(codeOf(await at.ask("outputs", { outputs }))).toEqual([409, "job-finishing"]);
    expect(codeOf(await at.ask("urls", { method: "PUT", objects: outputs }))).toEqual([409, "job-finishing"]);
    expect(await at.job.recordUpload(small.key, 1, "upload")).toMatchObject({ failure: { code: "job-finishing" } });
    expect(await outputIn(at, "runs/b")).toBeUndefined();
    expect((await at.ask("finish", {})).body).toMatchObject({ state: "done" });
  });

  it("as failed leaves out what is otherwise than announced, and commits the rest; as done it is refused", async () => {
    const at = await fresh();
    const [short, whole] = await at.announce([small, { key: "runs/b", size: 5 }]);
    await putBy(short ?? {}, "1234");
    await putBy(whole ?? {}, "12345");
    expect(codeOf(await at.ask("finish", {}))).toEqual([409, "output-mismatch"]);
    const asked = await at.ask("finish", { outcome: "failed", outputs: [small.key] });
    expect(codeOf(asked)).toEqual([409, "output-mismatch"]);
    const done = await at.ask("finish", { outcome: "failed" });
    expect(done.body).toMatchObject({ state: "failed", outputs: { announced: 2, committed: 1 } });
  });

  it("that would make more requests than an invocation has says how many, and what to do instead", async () => {
    const at = await fresh();
    await runInDurableObject(at.job, (_, { storage }) => {
      storage.sql.exec(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4501)
           INSERT INTO output (key, size, content_type, sha256, state, generation)
             SELECT 'runs/z' || i, 1, 'x', 'abc', 'announced', i FROM n`,
      );
    });
    const refused = await at.ask("finish", {});
    expect(codeOf(refused)).toEqual([400, "invalid-body"]);
    expect(refused.body["detail"]).toMatch(/9002 requests .* 9000.*Commit some of them first/);
    expect(must(await at.job.status()).state).toBe("running");
  });

  it("commits checkpoints in the order in which they were begun: the last is the latest, and stays", async () => {
    const at = await fresh({ checkpoints: { keep: 1 } });
    for (const checkpoint of ["step-9", "step-10"]) {
      await putBy(first(await at.announce([{ key: `runs/${checkpoint}/a`, size: 5 }], { checkpoint })), "12345");
    }
    expect((await at.ask("finish", {})).status).toBe(200);
    await deliverOutbox(at);
    expect(must(await at.job.checkpoint(null)).checkpoint.name).toBe("step-10");
    expect([await text(at.name, "runs/step-9/a"), await text(at.name, "runs/step-10/a")]).toEqual([undefined, "12345"]);
  });
});
