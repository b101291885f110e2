import { deepStrictEqual } from "node:assert";
import fc from "fast-check";
import { test } from "vitest";
import { checkKey, formatDataUrl, parseDataTarget } from "../../workers/core/http/key-path.ts";
import { referenceKeyRefusal, referenceTarget } from "../reference/data-url.ts";
import { mostly, mutated } from "../reference/mutated.ts";
import { count, PATIENCE, RUNS } from "./fuzz-runs.ts";

const HOST = "https://data.example.org";
const NAMES = [
  "",
  ".",
  "..",
  "...",
  "a",
  "zarr.json",
  "c",
  "0.0",
  "%",
  "%2e",
  "%2F",
  "+",
  "\u00e9",
  "\\",
  "?",
  "#",
  "@",
  ";",
  "&key=",
  "\r\n",
  "\uFEFF",
  "😀",
];
/** What is between slashes in a URL: names as they are written, and tricks. */
const USUAL =
  "a zarr.json c 0.0 ... a%20b a+b %2F a%2Fb %252F %252e %5c %C3%A9 %F0%9F%98%80 %EF%BB%BF a;b a:b a@b = a%0d%0ab".split(
    " ",
  );
const ODD = [
  ...["", ".", "..", "\\", "\u00e9", "b".repeat(700), "é".repeat(400)],
  ..."%2e%2e %2E%2e .%2e %00 %c0%ae %c0%af %e0%80%af %f0%80%80%af %ed%a0%80 %f4%90%80%80".split(" "),
  ..."%f8%88%80%80%80 %80 %c3 % %zz %2 a&key=b".split(" "),
];
const path = fc.array(mostly(USUAL, ODD), { maxLength: 5 }).map((segments) => segments.join("/"));
const host = mostly([HOST, "http://h:8787", "HTTPS://u@h"], ["h", "", "1://h"]);
const door = mostly(["/d", "/t/cap", "/t/v1.abc-_.sig", "/t/%63ap"], ["/x", "/D", "//d", "/%64", "", "/t", "/t/%ff"]);
const place = mostly(
  ["era5", "era5@live", "era5@7", "era5%407", "a".repeat(63)],
  ["era5@0", "era5@1000000000", "Era5", "a".repeat(64), "..", "", "era5%2Fa", "-a", "a@7@7"],
);
const parameter = fc.oneof(
  fc.tuple(fc.constantFrom("key=", "token=", "x=", "Key=", "%6bey="), path).map((parts) => parts.join("")),
  fc.constantFrom("key", "token", "", "key=="),
);
const query = fc.array(parameter, { maxLength: 3 }).map((all) => (all.length === 0 ? "" : `?${all.join("&")}`));
/** A key in the path, in the query, in both or in none. */
const named = fc.oneof(
  { arbitrary: path.map((key) => `/${key}`), weight: 4 },
  { arbitrary: path.map((key) => `?key=${key}`), weight: 2 },
  { arbitrary: fc.tuple(path, query).map(([key, asked]) => (key === "" ? asked : `/${key}${asked}`)), weight: 2 },
);
const end = mostly([""], ["#", "#/../b", "#?key=b"]);
const url = fc
  .tuple(host, door, place, named, end)
  .map(([at, by, dataset, key, last]) => `${at}${by}/${dataset}${key}${last}`);

test(
  `${count(RUNS.urls)} URLs name the key that the reference decodes, or are refused as it refuses them`,
  { timeout: PATIENCE },
  () => {
    fc.assert(
      fc.property(mutated(url), (damaged) => {
        const text = damaged.toWellFormed(); // As `Request.url` is.
        const target = parseDataTarget(text);
        deepStrictEqual(target.ok ? target.value : target.failure.code, referenceTarget(text));
      }),
      { numRuns: RUNS.urls },
    );
  },
);

const keyText = mutated(
  fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 6 }).map((names) => names.join("/")),
);

test(
  `${count(RUNS.urlsOfKeys)} keys come back from the URL that is made of them, through any URL parser`,
  { timeout: PATIENCE },
  () => {
    const addressable = keyText.filter((key) => checkKey(key).ok);
    fc.assert(
      fc.property(addressable, fc.constantFrom("/d/era5", "/t/cap/era5@7"), (key, base) => {
        const made = formatDataUrl(HOST + base, key);
        deepStrictEqual(new URL(made).href, made);
        for (const found of [parseDataTarget(made), { ok: true, value: referenceTarget(made) }]) {
          const { value } = found as { value?: { key?: string } };
          deepStrictEqual(value?.key, key);
        }
      }),
      { numRuns: RUNS.urlsOfKeys },
    );
  },
);

test(`${count(RUNS.keys)} keys are taken where R2 can hold them`, { timeout: PATIENCE }, () => {
  const unit = fc.constantFrom("a", "/", "\u00e9", "€", "😀", "\u07ff", "\uffff", "\ud7ff", "\ue000");
  // Few are near the limit, where a byte decides.
  const long = fc
    .tuple(unit, fc.integer({ min: 250, max: 1030 }), keyText)
    .map(([char, times, rest]) => char.repeat(times).slice(0, 1024) + rest);
  const broken = fc
    .tuple(keyText, fc.constantFrom("\ud800", "\udfff", "\udc00\ud800", "\0"), keyText)
    .map((parts) => parts.join(""));
  const key = fc.oneof(
    { arbitrary: keyText, weight: 3 },
    { arbitrary: long, weight: 2 },
    { arbitrary: broken, weight: 1 },
  );
  fc.assert(
    fc.property(key, (text) => {
      const checked = checkKey(text);
      deepStrictEqual(checked.ok ? null : checked.failure.code, referenceKeyRefusal(text));
    }),
    { numRuns: RUNS.keys },
  );
});
