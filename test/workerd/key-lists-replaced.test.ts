import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import type { KeyList } from "../../workers/core/migration/status.ts";
import { carry, deliver, type Letter } from "./harness/delivery.ts";
import { expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { reportLines } from "./harness/report-lines.ts";
import { registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { envWithSource, fill, text } from "./harness/source.ts";
import { replacing } from "./harness/uploads.ts";

type Format = "ndjson" | "csv";

/** More keys than one message looks up, in two sets that have none in common and whose lists are as long to the byte. */
const OLD = Array.from({ length: 210 }, (_, i) => `old/${String(i).padStart(3, "0")}`);
const NEW = OLD.map((key) => key.replace("old", "new"));

const FORMATS: readonly Format[] = ["ndjson", "csv"];

/** A CSV's first line is looked up by every message. */
const listOf = (format: Format, keys: readonly string[]): string =>
  format === "csv" ? `etag,key\n${keys.map((key) => `x,${key}\n`).join("")}` : keys.map((key) => `"${key}"\n`).join("");

const nameOf = (dataset: string, format: Format) => `replaced-lists/${dataset}.${format}`;
const put = (dataset: string, format: Format, keys: readonly string[]) =>
  env.SYSTEM.put(nameOf(dataset, format), listOf(format, keys));

beforeAll(async () => {
  await fill("replaced-lists/", new Map([...OLD, ...NEW].map((key) => [key, text(key)])));
}, 300_000);

const isReadOn = ({ body }: Letter): boolean => body.type === "keys" && body.offset > 0;

describe("a list that is replaced while a run reads it", { timeout: 300_000 }, () => {
  /** A run of the old list; `before` happens before each of its messages. */
  async function runOf(dataset: string, format: Format, before: (letter: Letter) => unknown, seen = envWithSource({})) {
    await put(dataset, format, OLD);
    await registerDataset(dataset, "replaced-lists/");
    const keys: KeyList = { kind: "object", bucket: "SYSTEM", key: nameOf(dataset, format), format };
    const run = await startRun(dataset, seen, { keys });
    await carry(run, {
      hand: async (letter, at) => {
        await before(letter);
        return deliver(letter, at);
      },
    });
    await expectNothingLeft(run);
    return run;
  }

  /** The run has failed and says of which list, and has touched no key of another. */
  async function expectRefused(run: TestRun, format: Format): Promise<void> {
    const { state, problem } = await statusOf(run);
    expect([state, problem?.code]).toEqual(["failed", "object-changed"]);
    expect(problem?.detail).toContain(`"${nameOf(run.dataset, format)}"`);
    expect((await keysInR2(run.prefix)).filter((key) => !OLD.includes(key))).toEqual([]);
    expect((await reportLines(run)).filter(({ key }) => !OLD.includes(key))).toEqual([]);
  }

  it.each(FORMATS)("fails the run, which takes no key of the other: %s", async (format) => {
    let replaced = 0;
    const run = await runOf(`other-${format}`, format, async (letter) => {
      if (isReadOn(letter) && replaced++ === 0) await put(`other-${format}`, format, NEW);
    });
    expect(replaced).toBeGreaterThan(0);
    await expectRefused(run, format);
    expect((await statusOf(run)).listed.complete).toBe(false);
  });

  it.each(FORMATS)("fails it as well where that is between a look at the list and its read: %s", async (format) => {
    const dataset = `between-${format}`;
    let replaced = 0;
    const get = async (key: string, options?: R2GetOptions) => {
      if (key === nameOf(dataset, format) && replaced++ === 0) await put(dataset, format, NEW);
      return env.SYSTEM.get(key, options);
    };
    const SYSTEM = replacing(env.SYSTEM, { get });
    const run = await runOf(dataset, format, () => undefined, envWithSource({}, { SYSTEM }));
    expect(replaced).toBeGreaterThan(0);
    await expectRefused(run, format);
    expect(await keysInR2(run.prefix)).toEqual([]);
  });

  it("fails it where the list is gone, and says so", async () => {
    const run = await runOf("gone", "ndjson", async (letter) => {
      if (isReadOn(letter)) await env.SYSTEM.delete(nameOf("gone", "ndjson"));
    });
    const { state, problem } = await statusOf(run);
    expect([state, problem?.code]).toEqual(["failed", "object-not-found"]);
    expect(problem?.detail).toContain(nameOf("gone", "ndjson"));
  });

  it.each(FORMATS)("goes on where it is the same to the byte: %s", async (format) => {
    const run = await runOf(`same-${format}`, format, async (letter) => {
      if (letter.body.type === "keys") await put(`same-${format}`, format, OLD);
    });
    expect((await statusOf(run)).state).toBe("done");
    expect(await keysInR2(run.prefix)).toEqual(OLD);
  });

  it("is read anew by a message that has read nothing of it", async () => {
    const run = await runOf("unread", "ndjson", async (letter) => {
      if (letter.body.type === "keys" && letter.body.offset === 0) await put("unread", "ndjson", NEW);
    });
    expect((await statusOf(run)).state).toBe("done");
    expect(await keysInR2(run.prefix)).toEqual(NEW);
  });
});
