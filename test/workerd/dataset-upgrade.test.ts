import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { givenRow } from "../harness/rows.ts";
import { must, registerDataset } from "./harness/run.ts";
import { rowAt } from "./harness/through.ts";

/** The tables of the release before rows had origins and checksums, as its Dataset objects made them. */
const OLD = [
  `CREATE TABLE config (id INTEGER PRIMARY KEY CHECK (id = 1), config TEXT NOT NULL)`,
  `CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, migration TEXT, migration_since INTEGER)`,
  `CREATE TABLE object (
    key TEXT PRIMARY KEY, size INTEGER NOT NULL, etag TEXT NOT NULL, uploaded_at INTEGER NOT NULL, content_type TEXT,
    proof TEXT, source_etag TEXT, source_modified_at INTEGER, writer TEXT NOT NULL, stage TEXT, category TEXT,
    updated_at INTEGER NOT NULL, seq INTEGER NOT NULL
  ) WITHOUT ROWID`,
  `CREATE TABLE total (proof TEXT PRIMARY KEY, objects INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID`,
  `CREATE TABLE tombstone (key TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID`,
];

it("a Dataset object of an older release keeps its rows, tombstones and counts, and takes new ones", async () => {
  const stub = datasetOf(env, "old");
  await registerDataset("old", "nothing/");
  await runInDurableObject(stub, (_, { storage: { sql } }) => {
    const { config } = sql.exec<{ config: string }>("SELECT config FROM config").one();
    const tables = sql.exec<{ name: string }>(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*' AND name NOT GLOB 'sqlite_*'",
    );
    for (const { name } of tables.toArray()) sql.exec(`DROP TABLE ${name}`);
    for (const statement of OLD) sql.exec(statement);
    sql.exec("INSERT INTO config VALUES (1, ?)", config);
    sql.exec("INSERT INTO head VALUES (1, 7, 'mig_01', 5)");
    const row = "INSERT INTO object VALUES (?, ?, ?, 1000, 'text/plain', ?, 's', 900, 'mig_01', ?, ?, 2000, ?)";
    sql.exec(row, "raw/a/1", 10, "9e107d9d372bb6826bd81d3542a419d6", "md5", "raw", "a", 6);
    sql.exec(row, "b", 20, "e-2", null, null, null, 7);
    sql.exec("INSERT INTO total VALUES ('md5', 1, 10), ('', 1, 20)");
    sql.exec("INSERT INTO tombstone VALUES ('gone', 1500)");
  });
  await evictDurableObject(stub);
  const { summary, migration } = must(await stub.describe());
  expect([summary.objects, summary.bytes, summary.proofs, summary.seq, migration]).toEqual([
    2,
    30,
    { md5: 1 },
    7,
    "mig_01",
  ]);
  expect(await rowAt("old", "raw/a/1")).toMatchObject({
    ...{
      size: 10,
      contentType: "text/plain",
      proof: "md5",
      sourceEtag: "s",
      sourceModifiedAt: 900,
      stage: "raw",
      category: "a",
    },
    ...{ md5: "9e107d9d372bb6826bd81d3542a419d6", sha256: null, origin: null, tags: null, seq: 6 },
  });
  expect(await stub.isBuried("gone")).toBe(true);
  expect(must(await stub.readerView()).hasTombstones).toBe(true);
  const counts = [{ stage: "raw", objects: 1, bytes: 10 }];
  expect([must(await stub.countsByStage("a")), must(await stub.countsByStage("b"))]).toEqual([counts, []]);
  expect(summary.stages).toEqual([{ stage: null, objects: 1, bytes: 20 }, ...counts]);
  // As if it had always been of this release: an old tombstone is asked about, a row is counted where it belongs.
  const { questions, written } = must(
    await stub.applyRows("ds_old", [givenRow("gone"), givenRow("raw/a/2", { size: 5, proof: "md5" })]),
  );
  expect([written, questions.map(({ key }) => key)]).toEqual([1, ["gone"]]);
  expect(must(await stub.describe()).summary).toMatchObject({ objects: 3, bytes: 35, proofs: { md5: 2 }, seq: 8 });
  // Opened once more, it is left as it is.
  await evictDurableObject(stub);
  expect(must(await stub.describe()).summary).toMatchObject({ objects: 3, bytes: 35, proofs: { md5: 2 }, seq: 8 });
});
