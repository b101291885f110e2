import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { configOf } from "../../workers/adapters/config.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { givenRow } from "../harness/rows.ts";
import { must, registerDataset } from "./harness/run.ts";

const DAY_MS = 86_400_000;
const stub = datasetOf(env, "expiry");
const alarmOf = () => runInDurableObject(stub, (_, { storage }) => storage.getAlarm());
const forgotten = () =>
  runInDurableObject(
    stub,
    (_, { storage }) => storage.sql.exec<{ forgotten: number }>("SELECT forgotten FROM head").one().forgotten,
  );

/** Keys that have a tombstone. */
const buried = () =>
  runInDurableObject(stub, (_, { storage }) =>
    storage.sql
      .exec<{ key: string }>("SELECT key FROM tombstone ORDER BY key")
      .toArray()
      .map(({ key }) => key),
  );

/** So many days pass for the object's tombstones, and its alarm rings. */
async function pass(days: number): Promise<void> {
  await runInDurableObject(stub, (_, { storage }) => {
    storage.sql.exec("UPDATE tombstone SET at = at - ?", days * DAY_MS);
    return storage.setAlarm(Date.now() + 60_000);
  });
  await runDurableObjectAlarm(stub);
}

beforeAll(() => registerDataset("expiry", "nothing/"));

describe("a tombstone", () => {
  it("is no reason for an alarm before there is one", async () => {
    must(await stub.applyRows("ds_expiry", [givenRow("a")]));
    expect(await alarmOf()).toBeNull();
  });

  it("of whatever deletion arms the alarm for the day on which it is forgotten", async () => {
    const { questions } = must(await stub.hint("ds_expiry", [{ key: "a", etag: null }]));
    must(
      await stub.answerRows(
        "ds_expiry",
        questions.map((question) => ({ ...question, row: null })),
      ),
    );
    const days = ((await alarmOf()) ?? 0) - Date.now();
    expect(Math.round(days / DAY_MS)).toBe(env.TOMBSTONE_DAYS);
  });

  it("is kept until then, and forgotten after, with the changes of before", async () => {
    const { seq } = must(await stub.describe()).summary;
    await pass(env.TOMBSTONE_DAYS - 1);
    expect([await buried(), await forgotten()]).toEqual([["a"], 0]);
    await stub.bury("ds_expiry", ["b"]);
    await pass(2);
    expect([await buried(), await stub.isBuried("b"), await forgotten()]).toEqual([["b"], true, seq]);
    expect(await alarmOf()).toBeGreaterThan(Date.now() + DAY_MS);
  });

  it("goes with thousands of others some at a time, and then the alarm is off", async () => {
    await stub.bury(
      "ds_expiry",
      Array.from({ length: 2500 }, (_, n) => `many/${n}`),
    );
    const { seq } = must(await stub.describe()).summary;
    await pass(env.TOMBSTONE_DAYS + 1);
    await runInDurableObject(stub, (_, { storage }) => {
      expect(storage.sql.exec("SELECT 1 FROM tombstone").toArray()).toEqual([]);
    });
    expect([await forgotten(), await alarmOf()]).toEqual([seq, null]);
  });
});

it("TOMBSTONE_DAYS that are no more than a queue keeps a message are refused, by name", () => {
  const config = configOf({ ...env, TOMBSTONE_DAYS: 14 });
  expect(config.ok ? null : [config.failure.code, config.failure.detail]).toEqual([
    "misconfigured",
    expect.stringContaining("TOMBSTONE_DAYS"),
  ]);
});
