import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { KEY_MAX_BYTES, MESSAGE_MAX_BYTES } from "../../workers/core/limits.ts";
import { PROOFS, type Row } from "../../workers/core/manifest/row.ts";
import {
  type CopyItem,
  manifestMessage,
  queuedMessage,
  sentItem,
  type SentManifestMessage,
  type SentMigrationMessage,
  sentRows,
} from "../../workers/core/migration/message.ts";
import { packItems, packRows } from "../../workers/core/migration/pack.ts";
import { givenRow } from "../harness/rows.ts";

const ID = "mig_01HZX3V7Q8R9S0T1V2W3X4Y5Z6";
const OTHER = "mig_01HZX3V7Q8R9S0T1V2W3X4Y5Z7";
const NOW = 1_795_337_207_551;
const MD5 = "9e107d9d372bb6826bd81d3542a419d6";

/** On the queue and off it again. */
const carried = (sent: SentMigrationMessage): unknown => queuedMessage.parse(JSON.parse(JSON.stringify(sent)));
const carriedRows = (sent: SentManifestMessage) => manifestMessage.parse(JSON.parse(JSON.stringify(sent)));
const rowsMessage = (rows: readonly Row[]): SentManifestMessage => ({
  ...{ v: 1, type: "rows", seq: 123_456_789, dataset: "era5", datasetId: "ds_01HZX3V7Q8R9S0T1V2W3X4Y5Z6" },
  sender: { kind: "migration", id: ID },
  ...sentRows(rows),
});
const bytesOf = (message: unknown): number => Buffer.byteLength(JSON.stringify(message));

const text = fc.string({ unit: "binary", maxLength: 60 });
const time = fc.integer({ min: 0, max: 4e12 });
const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const item: fc.Arbitrary<CopyItem> = fc.record({
  ...{ key: text, size, etag: text, lastModified: time },
  was: fc.option(text),
});
const row: fc.Arbitrary<Row> = fc
  .record({
    ...{ key: text, size, etag: text, uploadedAt: time, sourceModifiedAt: fc.option(time) },
    contentType: fc.option(fc.constantFrom("application/x-zarr", "", "0", "text/plain")),
    proof: fc.option(fc.constantFrom(...PROOFS)),
    sourceEtag: fc.option(fc.constantFrom("", "0", "etag-of-the-source")),
    writer: fc.constantFrom(ID, OTHER, "through:ds_1", "application/x-zarr", ""),
    origin: fc.option(fc.constantFrom("s3://bucket/a/", "application/x-zarr", "")),
    // What few objects have.
    ...{ contentEncoding: fc.option(fc.constantFrom("gzip", "")), md5: fc.option(fc.constant(MD5)) },
    ...{ sha256: fc.option(text), crc64nvme: fc.option(text), sourceKey: fc.option(text) },
    ...{ storageClass: fc.option(fc.constant("STANDARD_IA")), tags: fc.option(fc.constant({ team: "a", "": "b" })) },
    isSame: fc.boolean(),
  })
  .map(({ isSame, ...rest }) => (isSame ? { ...rest, sourceEtag: rest.etag } : rest));

describe("what is sent as tuples is read as what was meant", () => {
  test("an object to copy, or to read back", () => {
    fc.assert(
      fc.property(
        fc.array(item, { maxLength: 20 }),
        fc.constantFrom("copy" as const, "read" as const),
        (items, type) => {
          const sent = { v: 1 as const, migration: ID, seq: 7, type, tries: 2, items: items.map(sentItem) };
          expect(carried(sent)).toEqual({ ...sent, items });
        },
      ),
    );
  });

  test("an object to copy in parts", () => {
    fc.assert(
      fc.property(item, (meant) => {
        const sent = { v: 1 as const, migration: ID, seq: 7, type: "upload" as const, generation: 3 };
        expect(carried({ ...sent, item: sentItem(meant) })).toEqual({ ...sent, item: meant });
      }),
    );
  });

  test("an object to delete", () => {
    fc.assert(
      fc.property(text, text, (key, etag) => {
        const sent = { v: 1 as const, migration: ID, seq: 7, type: "delete" as const };
        expect(carried({ ...sent, items: [[key, etag]] })).toEqual({ ...sent, items: [{ key, etag }] });
      }),
    );
  });

  test("rows, whatever words they share: a content type may be a writer, too, and an ETag the number 0", () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 30 }), (rows) => {
        const { words: _, ...sent } = rowsMessage(rows);
        expect(carriedRows(rowsMessage(rows))).toEqual({ ...sent, rows });
      }),
    );
  });

  test("rows that say each content type and writer once", () => {
    const copied = { proof: "md5", origin: "s3://bucket/", sourceEtag: MD5, sourceModifiedAt: NOW } as const;
    const one = givenRow("a", { etag: MD5, uploadedAt: NOW, contentType: "text/plain", ...copied, writer: ID });
    const { words, rows } = sentRows([
      one,
      { ...one, key: "b" },
      { ...one, key: "c", writer: OTHER, contentType: null },
    ]);
    expect(words).toEqual(["text/plain", ID, "s3://bucket/", OTHER]);
    expect(rows.map((sent) => [sent[4], sent[6], sent[8], sent[9]])).toEqual([
      [0, 0, 1, 2],
      [0, 0, 1, 2],
      [null, 0, 3, 2],
    ]);
  });

  test("rows of before there were origins", () => {
    const message = {
      ...rowsMessage([]),
      words: [ID],
      rows: [["k", 1, MD5, NOW, null, "md5" as const, 0 as const, NOW, 0]],
    };
    const copied = { proof: "md5", sourceEtag: MD5, sourceModifiedAt: NOW } as const;
    const read = manifestMessage.parse(JSON.parse(JSON.stringify(message)));
    expect(read.rows).toEqual([givenRow("k", { etag: MD5, uploadedAt: NOW, ...copied, writer: ID })]);
  });
});

describe("what is no message of ours is not read", () => {
  const sent = { v: 1, migration: ID, seq: 7, type: "copy", tries: 0, items: [["k", 1, "e", NOW, null]] };

  test.each<[string, object]>([
    ["of another version", { ...sent, v: 2 }],
    ["without the row of its outbox", { ...sent, seq: undefined }],
    ["of an unknown type", { ...sent, type: "move" }],
    ["with more than it may have", { ...sent, more: 1 }],
    ["with an object as it was sent before there were tuples", { ...sent, items: [{ key: "k", size: 1 }] }],
    ["with a tuple that is short", { ...sent, items: [["k", 1, "e", NOW]] }],
    ["with a tuple that is long", { ...sent, items: [["k", 1, "e", NOW, null, null]] }],
    ["with a negative size", { ...sent, items: [["k", -1, "e", NOW, null]] }],
    ["with half a byte", { ...sent, items: [["k", 0.5, "e", NOW, null]] }],
  ])("%s", (_what, message) => {
    expect(queuedMessage.safeParse(JSON.parse(JSON.stringify(message))).success).toBe(false);
  });

  test("and it is read where nothing is wrong with it", () => {
    expect(queuedMessage.safeParse(sent).success).toBe(true);
  });

  test("a row of an unknown proof", () => {
    const message = { ...rowsMessage([]), rows: [["k", 1, "e", NOW, null, "hearsay", 0, NOW, 0]] };
    expect(manifestMessage.safeParse(message).success).toBe(false);
    expect(manifestMessage.safeParse({ ...message, rows: [["k", 1, "e", NOW, null, "md5", 0, NOW, 0]] }).success).toBe(
      true,
    );
  });
});

describe("a message is one billed operation, under 60,000 bytes", () => {
  const key = (i: number): string => `temperature/c/${String(i).padStart(26, "0")}`; // 40 bytes

  const copies = (was: string | null) =>
    Array.from({ length: 500 }, (_, i): CopyItem => {
      return { key: key(i), size: 1_073_741, etag: MD5, lastModified: NOW + i, was };
    });
  const copyMessage = (items: readonly CopyItem[]) => {
    return { v: 1, migration: ID, seq: 999_999_999, type: "copy", tries: 99, items: items.map(sentItem) };
  };

  test("with 500 objects of 40-byte keys, which is as many as a consumer is given", () => {
    const items = copies(null);
    expect(Buffer.byteLength(items[0]?.key ?? "")).toBe(40);
    expect(packItems(items)).toEqual([items]);
    expect(bytesOf(copyMessage(items))).toBeLessThan(MESSAGE_MAX_BYTES);
    expect(packItems([...items, ...items])).toHaveLength(2);
  });

  test("and where all of them are there already, and each says what it writes over, two", () => {
    const messages = packItems(copies(MD5));
    expect(messages).toHaveLength(2);
    for (const some of messages) expect(bytesOf(copyMessage(some))).toBeLessThan(MESSAGE_MAX_BYTES);
  });

  test("with the rows of 400 such objects; those of 500 take no more than two", () => {
    const rows = copies(null).map(({ key: name, size: bytes, lastModified }): Row => {
      const copied = { proof: "md5", origin: "s3://bucket/", sourceEtag: MD5, sourceModifiedAt: lastModified } as const;
      const stored = { size: bytes, etag: MD5, uploadedAt: NOW, contentType: "application/octet-stream" };
      return givenRow(name, { ...stored, ...copied, writer: ID });
    });
    expect(packRows(rows.slice(0, 400))).toHaveLength(1);
    const messages = packRows(rows);
    expect(messages.length).toBeLessThanOrEqual(2);
    for (const some of messages) expect(bytesOf(rowsMessage(some))).toBeLessThan(MESSAGE_MAX_BYTES);
  });

  test("and a row says nothing of what it has not: a plain one of a migration names its origin, and ends", () => {
    const [plain, found, rare] = sentRows([
      givenRow("a", { origin: "s3://bucket/" }),
      givenRow("b"),
      givenRow("c", { storageClass: "STANDARD_IA" }),
    ]).rows;
    expect([plain?.length, found?.length, rare?.length]).toEqual([10, 9, 11]);
    expect(rare?.slice(9)).toEqual([null, { storageClass: "STANDARD_IA" }]);
  });

  test("with rows whose every object has the longest tags, and an origin as long as may be", () => {
    const [name, value] = ["日".repeat(127), "日".repeat(256)];
    const tags = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`${n}${name}`, value]));
    const origin = `s3://${"b".repeat(63)}/${"日".repeat(511)}/`;
    const rows = copies(null).map(({ key: own }) => givenRow(own, { origin, tags, writer: ID }));
    const messages = packRows(rows);
    expect(messages.flat()).toEqual(rows);
    for (const some of messages) expect(bytesOf(rowsMessage(some))).toBeLessThanOrEqual(MESSAGE_MAX_BYTES);
    expect(messages.length, "each as full as it may be: four rows of 11.6 KB").toBe(rows.length / 4);
    const plain = packRows(copies(null).map(({ key: own }) => givenRow(own, { origin, writer: ID })));
    for (const some of plain) expect(bytesOf(rowsMessage(some))).toBeLessThanOrEqual(MESSAGE_MAX_BYTES);
    expect(plain, "named once, a long origin makes no second message").toHaveLength(1);
  });

  const anyKey = fc.string({
    unit: fc.constantFrom("a", "é", "日", "\u0001", '"', "😀"),
    maxLength: KEY_MAX_BYTES / 4,
  });
  const many = { minLength: 1, maxLength: 400, size: "max" } as const;

  test("with whatever objects are packed into it", () => {
    fc.assert(
      fc.property(fc.array(fc.record(smallItem(anyKey)), many), (items) => {
        const messages = packItems(items);
        expect(messages.flat()).toEqual(items);
        for (const some of messages) {
          expect(bytesOf(copyMessage(some))).toBeLessThanOrEqual(MESSAGE_MAX_BYTES);
        }
      }),
      { numRuns: 50 },
    );
  });

  test("with whatever rows are packed into it, each with a content type of its own", () => {
    const type = fc.option(fc.string({ unit: fc.constantFrom("x", "é", "/"), maxLength: 200 }));
    const any = fc
      .record({ ...smallRow(anyKey), contentType: type })
      .map(({ key: name, ...said }) => givenRow(name, said));
    fc.assert(
      fc.property(fc.array(any, many), (rows) => {
        const messages = packRows(rows);
        expect(messages.flat()).toEqual(rows);
        for (const some of messages) expect(bytesOf(rowsMessage(some))).toBeLessThanOrEqual(MESSAGE_MAX_BYTES);
      }),
      { numRuns: 50 },
    );
  });
});

const etag = fc.constantFrom(MD5, `${MD5}-10000`);

function smallItem(key: fc.Arbitrary<string>) {
  return { key, size: fc.nat(4096), etag, lastModified: time, was: fc.option(etag) };
}

function smallRow(key: fc.Arbitrary<string>) {
  return {
    ...{ key, size: fc.nat(4096), etag, uploadedAt: time, sourceModifiedAt: fc.option(time) },
    ...{ proof: fc.option(fc.constantFrom(...PROOFS)), sourceEtag: fc.option(etag), writer: fc.constant(ID) },
  };
}
