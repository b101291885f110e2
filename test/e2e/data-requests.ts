import fc from "fast-check";
import { formatDataUrl } from "../../workers/core/http/key-path.ts";
import { writeDate } from "../reference/http-date.ts";
import { mutated } from "../reference/mutated.ts";
import type { DataRequest, ModelObject } from "./read-model.ts";

/** What requests are made up of. */
export interface Ingredients {
  /** The dataset that most ask for, and the names that others ask for. */
  name: string;
  others: readonly string[];
  objects: ReadonlyMap<string, ModelObject>;
  /** Capabilities that open something of it, and what does not. */
  right: readonly string[];
  wrong: readonly string[];
}

/** Stands for the ETag of the object that is asked for. */
const ITS_ETAG = "ITS-ETAG";
const METHODS = "GET GET GET GET GET GET HEAD HEAD OPTIONS POST PUT DELETE".split(" ");
const TRICKY = [
  "",
  "\\",
  ...". .. %2e%2e %2E. %2F %252F %5c %00 %c0%ae %e0%80%af % %zz ; in 0 secret ?key=secret".split(" "),
];

/** Requests of every kind of rightness: by all three ways for a token, with up to two of the headers that decide. */
export function dataRequests(made: Ingredients): fc.Arbitrary<DataRequest> {
  const right = fc.constantFrom(...made.right);
  const token = fc.oneof(
    { arbitrary: right, weight: 8 },
    { arbitrary: fc.constantFrom(...made.wrong), weight: 2 },
    { arbitrary: mutated(right), weight: 2 },
  );
  const versions = ["@live", "%40live", "@7", "@0"].map((version) => made.name + version);
  const dataset = fc.oneof(
    { arbitrary: fc.constant(made.name), weight: 8 },
    { arbitrary: fc.constantFrom(...versions, ...made.others, "gone", made.name.toUpperCase(), "%2e%2e"), weight: 1 },
  );
  return fc
    .record({
      method: fc.constantFrom(...METHODS),
      door: fc.nat(2),
      token,
      dataset,
      key: keys(made),
      headers: headers(made),
    })
    .map(({ method, door, token: secret, dataset: place, key: [key, way], headers: all }): DataRequest => {
      const etag = made.objects.get(key)?.etag ?? "";
      const sent = Object.entries(all).map(([field, value]) => [field, inHeader(value.replaceAll(ITS_ETAG, etag))]);
      // The simulator's proxy drops a field without a value; what we make of one is tested where it is read.
      const fields = Object.fromEntries(sent.filter(([, value]) => value?.trim() !== "")) as Record<string, string>;
      const path = `${door === 0 ? `/t/${secret}` : "/d"}/${place}${way}`;
      if (door === 2) fields["authorization"] = inHeader(`Bearer ${secret}`);
      const query = door === 1 ? `${path.includes("?") ? "&" : "?"}token=${secret}` : "";
      return { method, path: sendable(path + query), headers: fields };
    });
}

/** A key that is there or not, and what follows the dataset's name in the path. */
function keys({ name, objects }: Ingredients): fc.Arbitrary<[string, string]> {
  const missing = ["in/1", "in/c/0/0", "cafe\u0301", "in/cafe\u0301", "in/x".repeat(300), `${name}/secret`];
  const key = fc.oneof(
    { arbitrary: fc.constantFrom(...objects.keys()), weight: 6 },
    { arbitrary: fc.constantFrom(...missing), weight: 1 },
  );
  // As it should be written, as it is written, and as somebody would write it who means something else.
  const spelt = fc.tuple(key, fc.nat(5)).map(([text, way]): [string, string] => {
    const escaped = encodeURIComponent(text);
    const made = formatDataUrl("", text);
    return [
      text,
      [made, `/${text}`, `/${escaped}`, `?key=${escaped}`, `?key=${text}`, `/${encodeURI(text)}`][way] ?? made,
    ];
  });
  const damaged = spelt.chain(([text, way]) => mutated(fc.constant(way)).map((path): [string, string] => [text, path]));
  const tricks = fc
    .array(fc.constantFrom(...TRICKY), { minLength: 1, maxLength: 5 })
    .map((segments): [string, string] => ["in/0", `/${segments.join("/")}`]);
  return fc.oneof({ arbitrary: spelt, weight: 6 }, { arbitrary: damaged, weight: 2 }, { arbitrary: tricks, weight: 2 });
}

function headers({ objects }: Ingredients): fc.Arbitrary<Record<string, string>> {
  const [any] = objects.values();
  const sizes = [...objects.values()].map(({ bytes }) => bytes.length);
  const size = fc.constantFrom(...sizes, Number.MAX_SAFE_INTEGER, 2 * Number.MAX_SAFE_INTEGER);
  const around = fc.tuple(size, fc.constantFrom(0, 1, -1, 262_144)).map(([at, by]) => String(Math.max(0, at + by)));
  const end = fc.oneof(around, fc.constantFrom("", "0", "1", "9".repeat(20)));
  const unit = fc.constantFrom("bytes=", "bytes=", "bytes=", "items=");
  const range = fc.tuple(unit, end, end).map(([of, first, last]) => `${of}${first}-${last}`);
  const tag = fc.constantFrom(
    `"${ITS_ETAG}"`,
    `"${ITS_ETAG}"`,
    `W/"${ITS_ETAG}"`,
    ITS_ETAG,
    `"${any?.etag}"`,
    '"other"',
    "*",
  );
  const tags = fc.oneof(
    tag,
    fc.array(tag, { maxLength: 20 }).map((all) => all.join(", ")),
  );
  const form = fc.constantFrom("imf-fixdate" as const, "rfc850" as const, "asctime" as const);
  const day = fc.constantFrom(-86_400_000, 0, 86_400_000);
  const date = fc.tuple(form, day).map(([of, ms]) => writeDate(of, (any?.lastModified ?? 0) + ms));
  const field = (name: string, value: fc.Arbitrary<string>) =>
    fc
      .oneof({ arbitrary: value, weight: 3 }, { arbitrary: mutated(value), weight: 1 })
      .map((text): [string, string] => [name, text]);
  const one = fc.oneof(
    { arbitrary: field("range", range), weight: 4 },
    { arbitrary: field("if-range", fc.oneof(tags, date)), weight: 1 },
    { arbitrary: field("if-match", tags), weight: 1 },
    { arbitrary: field("if-none-match", tags), weight: 1 },
    { arbitrary: field("if-modified-since", date), weight: 1 },
    { arbitrary: field("if-unmodified-since", date), weight: 1 },
  );
  // With all six at once hardly any request would get as far as the bytes.
  return fc.array(one, { maxLength: 2 }).map((fields) => Object.fromEntries(fields));
}

/** Node sends no blanks, controls or more than ASCII in a path; a client would have escaped them. */
const sendable = (path: string) => path.toWellFormed().replace(/[^\x21-\x7e]+/g, encodeURIComponent);
const inHeader = (value: string) => value.replace(/[^\t\x20-\x7e\xe9\xff]/g, "");
