import { describe, expect, it, vi } from "vitest";
import { copyOnRead, type ReadThrough } from "../../workers/adapters/copy-on-read.ts";
import { queuedMessage } from "../../workers/core/migration/message.ts";
import { envWith } from "./harness/source.ts";

const MINUTE = 60_000;

/** The Worker's environment with a migration queue that keeps what it is sent, unless `refuses` says otherwise. */
function withQueue(refuses: () => boolean = () => false): { seen: Env; sent: unknown[] } {
  const sent: unknown[] = [];
  const send = async (body: unknown) => {
    if (refuses()) throw new Error("The queue is overloaded.");
    sent.push(body);
  };
  return { seen: envWith("plain", { MIGRATION_QUEUE: { send } }), sent };
}

const missOfKey = (key: string): ReadThrough => ({
  ...{ dataset: "precip", datasetId: "ds_1", key },
  ...{ etag: "0cc175b9c0f1b6a831c399e269772661", size: 1, lastModified: 1_700_000_000_000 },
});

describe("a miss asks for a copy", () => {
  it("by a message that the migration queue's consumer understands", async () => {
    const { seen, sent } = withQueue();
    await copyOnRead(seen, missOfKey("sent"));
    expect(sent.map((body) => queuedMessage.parse(body))).toEqual([{ v: 1, type: "through", ...missOfKey("sent") }]);
  });

  it("once in five minutes, however many misses there are", async () => {
    const { seen, sent } = withQueue();
    const clock = vi.spyOn(Date, "now").mockReturnValue(0);
    await Promise.all(Array.from({ length: 50 }, () => copyOnRead(seen, missOfKey("often"))));
    clock.mockReturnValue(5 * MINUTE - 1);
    await copyOnRead(seen, missOfKey("often"));
    expect(sent).toHaveLength(1);
    clock.mockReturnValue(5 * MINUTE);
    await copyOnRead(seen, missOfKey("often"));
    clock.mockRestore();
    expect(sent).toHaveLength(2);
  });

  it("for each key, source ETag and dataset of its own", async () => {
    const { seen, sent } = withQueue();
    const miss = missOfKey("own");
    for (const each of [miss, { ...miss, key: "own2" }, { ...miss, etag: "e" }, { ...miss, datasetId: "ds_2" }, miss]) {
      await copyOnRead(seen, each);
    }
    expect(sent).toHaveLength(4);
  });

  it("again where the queue refused it, and no reader learns of that", async () => {
    let isFull = true;
    const { seen, sent } = withQueue(() => isFull);
    await expect(copyOnRead(seen, missOfKey("refused"))).resolves.toBeUndefined();
    isFull = false;
    await copyOnRead(seen, missOfKey("refused"));
    expect(sent).toHaveLength(1);
  });
});
