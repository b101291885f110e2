/** What is sealed: a dataset of files, small, of every stage; and two Zarr stores without consolidated metadata. */
import { cubes, records } from "../../../examples/demo/data.ts";
import type { SourceObject } from "../../harness/local-source.ts";

/** Names at which a shell, a URL or a list of checksums may stumble. The local S3 endpoint has no route for an end of line. */
const NAMES = [
  "with space.txt",
  " around .txt ",
  "back\\slash.txt",
  "Grüße 日本語 𝄞.txt",
  "#hash?query&.txt",
  "quote\"'`$HOME`.txt",
  "100% %41+.txt",
  "[brackets]{}*.txt",
  "~tilde!.txt",
];
export const NAMES_PREFIX = "raw/names/";
const SMALL_PREFIX = "processed/small/";
const SMALL_FILES = 24;
const FLIGHTS = 5_000;

const CHAT = [
  {
    ...{ id: 1, created_at: "2024-01-01T00:00:00Z", score: 1.5, tags: ["x", "y"], none: null, mixed: 1 },
    ...{ place: { lat: 1.5, "odd key": 3 }, "a/b c": "z", m: [[1, 2], [3]] },
    messages: [{ role: "user", content: "hi", meta: { n: 1 } }],
  },
  { id: 2, created_at: null, score: 0.25, tags: [], messages: [], "a/b c": "y", m: [], none: null, mixed: "two" },
];
const REASONING = [
  { id: 1, o: { x: 1, "odd key": "k" }, tags: ["a"], optional: 1 },
  { id: 2, o: { x: 2, "odd key": "l" }, tags: [] },
];

/** How many records each file of records has; what is in no list has none. */
export const RECORDS: Record<string, number> = {
  "chat/a.jsonl": CHAT.length,
  "processed/cot_reasoning/dataset.json": REASONING.length,
  "processed/movies/movies.jsonl": 3_201,
  "raw/flights/flights-5k.jsonl": FLIGHTS,
};
/** What of their first records every reader must find. */
export const FIRST_RECORDS: Record<string, object> = {
  "chat/a.jsonl": {
    ...{ id: 1, score: 1.5, tags: ["x", "y"], m: [[1, 2], [3]] },
    ...{ none: null, place: { lat: 1.5, "odd%20key": 3 } },
  },
  "processed/cot_reasoning/dataset.json": { id: 1, x: 1, "odd%20key": "k", tags: ["a"] },
};

/** The files, by keys below `prefix`. */
export function corpus(prefix: string): SourceObject[] {
  const lines = (ending: string) => new TextDecoder().decode(recordsOf(ending)).split("\n");
  const texts: Record<string, string> = {
    "chat/a.jsonl": CHAT.map((record) => `${JSON.stringify(record)}\n`).join(""),
    "chat/settings.json": '{"temperature": 0.5}',
    "processed/cot_reasoning/dataset.json": JSON.stringify(REASONING),
    "processed/movies/movies.jsonl": lines("movies.jsonl").join("\n"),
    "raw/flights/flights-5k.jsonl": `${lines("flights-200k.jsonl").slice(0, FLIGHTS).join("\n")}\n`,
    "acquired/empty.bin": "",
    ...Object.fromEntries(NAMES.map((name) => [NAMES_PREFIX + name, `the file ${name}\n`])),
  };
  for (let number = 1; number <= SMALL_FILES; number++) texts[smallFile(number)] = `${number}\n`.repeat(number);
  return Object.entries(texts).map(([key, text]) => ({
    key: prefix + key,
    bytes: new TextEncoder().encode(text),
    contentType: key.endsWith(".jsonl")
      ? "application/jsonl"
      : key.endsWith(".json")
        ? "application/json"
        : "text/plain",
  }));
}

export const smallFile = (number: number): string => `${SMALL_PREFIX}${String(number).padStart(4, "0")}.txt`;

function recordsOf(ending: string): Uint8Array {
  const found = records().find(({ key }) => key.endsWith(ending));
  if (found === undefined) throw new Error(`The demo has no ${ending}`);
  return found.bytes;
}

/** The demo's cubes as their writer left them before it consolidated: `plain-v3/` and `plain-v2/`. */
export function plainCubes(): SourceObject[] {
  const plain = cubes().flatMap(({ key, bytes, contentType }): SourceObject[] => {
    const own = key.replace("cubes/precip-", "plain-").replace(".zarr/", "/");
    if (key.endsWith(".zmetadata")) return [];
    if (own !== "plain-v3/zarr.json") return [{ key: own, bytes, contentType }];
    const { consolidated_metadata: _, ...root } = JSON.parse(new TextDecoder().decode(bytes)) as Record<
      string,
      unknown
    >;
    return [{ key: own, bytes: new TextEncoder().encode(JSON.stringify(root)), contentType }];
  });
  if (plain.length + 1 !== cubes().length) throw new Error("The demo's v2 cube has no .zmetadata to leave out.");
  return plain;
}
