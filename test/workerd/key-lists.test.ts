import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { runFolder } from "../../workers/core/migration/request.ts";
import type { KeyList } from "../../workers/core/migration/status.ts";
import { carry, deliver } from "./harness/delivery.ts";
import { expectNothingLeft, keysInR2 } from "./harness/expect-exact.ts";
import { intercept } from "./harness/intercept.ts";
import { reportLines, reportNames, said } from "./harness/report-lines.ts";
import { registerDataset, startRun, statusOf, type TestRun } from "./harness/run.ts";
import { bytesOf, envWithSource, fill, PART_BYTES, text } from "./harness/source.ts";

const seen = envWithSource({});
afterEach(() => vi.restoreAllMocks());

/** Puts a list into a bucket that is not the dataset's, and names it. */
async function listed(name: string, body: string | Uint8Array<ArrayBuffer>): Promise<KeyList> {
  const key = `lists/${name}`;
  await env.SYSTEM.put(key, body);
  return { kind: "object", bucket: "SYSTEM", key, format: name.endsWith(".csv") ? "csv" : "ndjson" };
}

const ndjson = (keys: readonly unknown[]): string => keys.map((key) => `${JSON.stringify(key)}\n`).join("");

async function runOf(dataset: string, options: Parameters<typeof startRun>[2]): Promise<TestRun> {
  const run = await startRun(dataset, seen, options);
  await carry(run);
  return run;
}

describe("a list of keys says what a run is about", { timeout: 300_000 }, () => {
  const KEYS = ["a b", "a,b", "dir/x", 'q"uote', "schöne/höhe", "日本", "other"];
  let serial = 0;

  beforeAll(async () => {
    await fill("lists/", new Map(KEYS.map((key) => [key, text(`bytes of ${key}`)])));
  });

  /** A dataset of that source with nothing in R2. */
  async function fresh(): Promise<string> {
    const name = `list-${++serial}`;
    await registerDataset(name, "lists/");
    return name;
  }

  /** What a run copies that is given this list. */
  async function copiedBy(keys: KeyList | readonly string[]): Promise<string[]> {
    const dataset = await fresh();
    const run = await runOf(dataset, { keys });
    expect(await keysInR2(`${dataset}/`)).toEqual(
      (await reportLines(run))
        .filter(({ outcome }) => outcome === "copied")
        .map(({ key }) => key)
        .sort(),
    );
    await expectNothingLeft(run);
    return said(await reportLines(run));
  }

  it("in the request: kept in the run's folder, and read from there", async () => {
    const dataset = await fresh();
    const run = await runOf(dataset, { keys: ["日本", "a b"] });
    expect(said(await reportLines(run))).toEqual(["a b: copied", "日本: copied"]);
    const kept = await env.SYSTEM.get(`${runFolder(run.id)}keys.ndjson`);
    expect(await kept?.text()).toBe('"日本"\n"a b"\n');
    const { listed: all, copied } = await statusOf(run);
    expect([all, copied.objects]).toEqual([{ objects: 2, bytes: copied.bytes, complete: true }, 2]);
  });

  it("as NDJSON, of strings and of objects that have a key", async () => {
    const list = await listed("mixed.ndjson", `"a b"\n\n{"key":"dir/x","size":1}\r\n"schöne/höhe"`);
    expect(await copiedBy(list)).toEqual(["a b: copied", "dir/x: copied", "schöne/höhe: copied"]);
  });

  it("as CSV with names of columns, with CRLF, quotes and a byte order mark", async () => {
    const list = await listed("named.csv", '\uFEFFsize,Key,etag\r\n1,"a,b",x\r\n2,"q""uote",y\r\n3,日本,z\r\n');
    expect(await copiedBy(list)).toEqual(["a,b: copied", 'q"uote: copied', "日本: copied"]);
  });

  it("as CSV without: one column of keys, or AWS's of bucket and percent-encoded key", async () => {
    expect(await copiedBy(await listed("one.csv", "dir/x\na b\n"))).toEqual(["a b: copied", "dir/x: copied"]);
    const aws = await listed("aws.csv", '"bucket","a+b"\n"bucket","sch%C3%B6ne/h%C3%B6he"\n');
    expect(await copiedBy(aws)).toEqual(["a b: copied", "schöne/höhe: copied"]);
  });

  it("that is empty, or nothing but a byte order mark or blank lines, and then there is nothing to do", async () => {
    for (const body of ["", "\uFEFF", "\n\n\r\n", "\uFEFF\n"]) {
      expect(await copiedBy(await listed("empty.ndjson", body))).toEqual([]);
      expect(await copiedBy(await listed("empty.csv", body))).toEqual([]);
    }
    expect(await copiedBy(await listed("header.csv", "key\n"))).toEqual([]);
  });

  it("of which keys that the source has not are failures of theirs, and no others'", async () => {
    const list = await listed("missing.ndjson", ndjson(["a", "a b", "dir", "dir/", "dir/x", "zzz"]));
    const dataset = await fresh();
    const run = await runOf(dataset, { keys: list });
    const missing = ["a", "dir", "dir/", "zzz"].map((key) => `${key}: failed source-object-missing`);
    expect(said(await reportLines(run)).sort()).toEqual([...missing, "a b: copied", "dir/x: copied"].sort());
    const { state, failed, copied, failures } = await statusOf(run);
    expect([state, failed.objects, copied.objects, failures.length]).toEqual(["done", 4, 2, 4]);
  });

  it("of which lines that name no key are reported with their number", async () => {
    const lines = ['"a b"', "not json", '{"name":"x"}', '""', `"${"x".repeat(1025)}"`, '"dir/x"', '"\\ud800"', "17"];
    expect(await copiedBy(await listed("bad.ndjson", lines.join("\n")))).toEqual([
      "a b: copied",
      "dir/x: copied",
      ...[2, 3, 4, 5, 7, 8].map((line) => `lists/bad.ndjson:0+${line}: failed invalid-key`),
    ]);
    const csv = 'bucket,a+b\nalone\nbucket,%zz\nbucket,dir/x\nbucket,"never closed';
    expect(await copiedBy(await listed("bad.csv", csv))).toEqual([
      "a b: copied",
      "dir/x: copied",
      ...[2, 3, 5].map((line) => `lists/bad.csv:0+${line}: failed invalid-key`),
    ]);
  });

  it("and the filters still say which of them: others are not even asked for", async () => {
    const dataset = await fresh();
    const wires = intercept();
    const run = await runOf(dataset, {
      keys: ["a b", "dir/x", "not-there", "gone/x", "other"],
      exclude: ["gone/**", "o*"],
      prefix: "",
    });
    expect(said(await reportLines(run))).toEqual([
      "a b: copied",
      "dir/x: copied",
      "not-there: failed source-object-missing",
    ]);
    const asked = wires.filter(({ query }) => query.has("list-type")).map(({ query }) => query.get("prefix"));
    expect(new Set(asked)).toEqual(new Set(["lists/a b", "lists/dir/x", "lists/not-there"]));
    expect(asked).toHaveLength(3);
  });
});

describe("a list that cannot be read", { timeout: 300_000 }, () => {
  let serial = 0;

  async function failedBy(keys: KeyList, copied: readonly string[] = []): Promise<{ code: string; detail: string }> {
    const dataset = `unread-${++serial}`;
    await registerDataset(dataset, "unread/");
    const run = await runOf(dataset, { keys });
    const { state, problem } = await statusOf(run);
    expect([state, await keysInR2(`${dataset}/`)]).toEqual(["failed", copied]);
    await expectNothingLeft(run);
    return problem as { code: string; detail: string };
  }

  beforeAll(async () => {
    await fill("unread/", new Map(["a", "b"].map((key) => [key, text(key)])));
  });

  it("fails the run, and says so: one that is not there", async () => {
    const problem = await failedBy({ kind: "object", bucket: "SYSTEM", key: "lists/none.csv", format: "csv" });
    expect(problem.code).toBe("object-not-found");
    expect(problem.detail).toContain('"lists/none.csv"');
  });

  it("in a bucket of which there is no binding", async () => {
    const problem = await failedBy({ kind: "object", bucket: "NOWHERE", key: "x", format: "ndjson" });
    expect(problem.code).toBe("unknown-bucket");
  });

  it.each(["ndjson", "csv"])("that is no UTF-8 (%s)", async (format) => {
    const body = Uint8Array.from([...text('"a"\n'), 0x22, 0xe9, 0x22, 0x0a]);
    const problem = await failedBy(await listed(`latin1.${format}`, body));
    expect(problem).toMatchObject({ code: "invalid-body" });
    expect(problem.detail).toContain("is not UTF-8");
  });

  it.each(["ndjson", "csv"])("that has a line of two megabytes: at it, and not before (%s)", async (format) => {
    const list = await listed(`long.${format}`, `"a"\n"${"x".repeat(2_000_000)}"\n"b"\n`);
    const problem = await failedBy(list, ["a"]);
    expect(problem).toMatchObject({ code: "invalid-body" });
    expect(problem.detail).toContain("from byte 4 on");
  });
});

describe("a list that takes several messages", { timeout: 300_000 }, () => {
  const keys = Array.from({ length: 250 }, (_, i) => `k/${String(i).padStart(4, "0")}`);

  beforeAll(async () => {
    await fill("many-keys/", new Map(keys.map((key) => [key, text(key)])));
  }, 300_000);

  it.each(["ndjson", "csv"])("is read on, each key once: %s", async (format) => {
    const dataset = `many-${format}`;
    await registerDataset(dataset, "many-keys/");
    // Names of columns stand in the first line alone, which later messages look up.
    const body = format === "csv" ? `etag,key\r\n${keys.map((key) => `"é",${key}\r\n`).join("")}` : ndjson(keys);
    const sent = new Set<number>();
    const run = await startRun(dataset, seen, { keys: await listed(`many.${format}`, body) });
    await carry(run, {
      arrange: (letters) => {
        for (const { body: message } of letters) if (message.type === "keys") sent.add(message.offset);
        return letters.flatMap((letter) => [letter, letter]).reverse();
      },
      consumers: 3,
    });
    expect([sent.size, sent.has(0)]).toEqual([2, true]);
    expect(said(await reportLines(run))).toEqual(keys.map((key) => `${key}: copied`));
    const { listed: all, copied } = await statusOf(run);
    expect([all.objects, all.complete, copied.objects]).toEqual([250, true, 250]);
    expect((await keysInR2(`${dataset}/`)).length).toBe(250);
    await expectNothingLeft(run);
  });

  it("that names a key twice in one message copies it once, and says it once", async () => {
    await registerDataset("twice-near", "many-keys/");
    const run = await runOf("twice-near", {
      keys: await listed("near.ndjson", ndjson(["k/0001", "k/0002", "k/0001"])),
    });
    expect(said(await reportLines(run))).toEqual(["k/0001: copied", "k/0002: copied"]);
    expect((await statusOf(run)).listed.objects).toBe(2);
  });

  it("that names a key once more far below finds it copied, and its counts add up", async () => {
    await registerDataset("twice-far", "many-keys/");
    const large = bytesOf(PART_BYTES + 7, 3);
    await fill("many-keys/", new Map([["large", large]]));
    const list = await listed("far.ndjson", ndjson(["large", ...keys.slice(0, 210), "k/0001", "large"]));
    const run = await runOf("twice-far", { keys: list });
    const { state, listed: all, copied, skipped, failed, secondsLeft } = await statusOf(run);
    expect([state, failed.objects, secondsLeft]).toEqual(["done", 0, 0]);
    expect(copied.objects + skipped.objects).toBe(all.objects);
    expect(copied.bytes + skipped.bytes).toBe(all.bytes);
    expect((await keysInR2("twice-far/")).length).toBe(211);
    expect(new Set((await reportLines(run)).map(({ key }) => key)).size).toBe(211);
  });
});

describe("another run's report", { timeout: 300_000 }, () => {
  it("is a list of keys: those that failed, or had any other outcome that is asked for", async () => {
    await fill("reported/", new Map(["a", "b", "c", "fault"].map((key) => [key, text(key)])));
    await fill("reported/", new Map([["large", bytesOf(PART_BYTES + 1, 1)]]));
    await registerDataset("reported", "reported/");
    const first = await startRun("reported", seen);
    await env.DATASETS.put("reported/a", "in the way");
    await env.DATASETS.put("reported/large", "in the way");
    await carry(first, {
      hand: async (letter, at) => {
        const answer = await deliver(letter, at);
        if (letter.body.type !== "list") return answer;
        await env.DATASETS.put("reported/a", "again");
        await env.DATASETS.put("reported/large", "again");
        return answer;
      },
    });
    expect(said(await reportLines(first))).toEqual([
      "a: failed destination-changed",
      "b: copied",
      "c: copied",
      "fault: copied",
      "large: failed destination-changed",
    ]);
    const of = (outcomes: string[]): KeyList => ({ kind: "report", migration: first.id, outcomes });
    const again = await runOf("reported", { keys: of(["failed"]) });
    expect(said(await reportLines(again))).toEqual(["a: copied", "large: copied"]);
    const copied = await runOf("reported", { keys: of(["copied"]) });
    expect(said(await reportLines(copied))).toEqual(["b: same", "c: same", "fault: same"]);
    const both = await runOf("reported", { keys: of(["copied", "failed"]), include: ["{a,b}"] });
    expect(said(await reportLines(both))).toEqual(["a: same", "b: same"]);
    const none = await runOf("reported", { keys: of(["verified"]) });
    expect([await reportLines(none), (await statusOf(none)).state]).toEqual([[], "done"]);
    // The part of it that has them, as an object: every line has a key.
    const [name] = await reportNames(first);
    const key = `${runFolder(first.id)}${name}`;
    const asObject = await runOf("reported", { keys: { kind: "object", bucket: "SYSTEM", key, format: "ndjson" } });
    expect((await reportLines(asObject)).length).toBeGreaterThan(0);
    expect((await statusOf(asObject)).failed.objects).toBe(0);
  });
});
