import { deepStrictEqual } from "node:assert";
import { validateHeaderValue } from "node:http";
import fc from "fast-check";
import { test } from "vitest";
import { dataHeaders } from "../../workers/core/http/stored-headers.ts";
import { mutated } from "../reference/mutated.ts";
import { referenceAttachment, referenceFieldValue, referenceIsActive } from "../reference/stored-headers.ts";
import { count, PATIENCE, RUNS } from "./fuzz-runs.ts";

const word = fc.constantFrom(
  ...[
    "text/html",
    "TEXT/HTML",
    "image/svg+xml",
    "application/xml",
    "text/javascript1.5",
    "application/x-ecmascript",
    "multipart/x-mixed-replace",
  ],
  ...[
    "text/plain",
    "application/octet-stream",
    "application/json",
    "image/png",
    "text/htmlish",
    "x/+xml",
    "/+xml",
    "text/",
    "xml",
    "charset=utf-8",
  ],
);
const type = fc
  .array(fc.tuple(word, fc.constantFrom("", ";", "; ", ",", " ", "(", "\t", "\r\n", "\xa0")), { maxLength: 3 })
  .map((words) => words.flat().join(""));
const parameter = fc.tuple(
  fc.constantFrom(";", "; ", " ;\t", ""),
  fc.constantFrom("filename", "FileName", "filename*", "size", "name", ""),
  fc.constantFrom("=", " = ", ""),
  fc.constantFrom(
    "x.html",
    '"x.html"',
    '"a;b\\"c"',
    '"open',
    '""',
    "UTF-8''%e2%82%ac",
    "two words",
    '"r\xe9sum\xe9"',
    "",
    '"x\r\nSet-Cookie: a=b"',
    '"日本"',
  ),
);
const disposition = fc
  .tuple(
    fc.constantFrom("inline", "attachment", "INLINE", ""),
    fc.array(parameter, { maxLength: 3 }),
    fc.constantFrom("", ";", " "),
  )
  .map((parts) => parts.flat(2).join(""));
const maybe = (text: fc.Arbitrary<string>) =>
  fc.oneof({ arbitrary: text, weight: 5 }, { arbitrary: fc.constant(undefined), weight: 1 });
const stored = fc.record({
  contentType: maybe(mutated(type)),
  contentDisposition: maybe(mutated(disposition)),
  contentLanguage: maybe(mutated(fc.constantFrom("de", "de, en", "", "de\r\nX: y"))),
  // Which is not in the type, but may be in what R2 holds.
  cacheControl: fc.constantFrom("public, max-age=31536000", "no-store"),
});

test(
  `${count(RUNS.storedHeaders)} objects' metadata goes out as the reference replays it, or not at all`,
  { timeout: PATIENCE },
  () => {
    fc.assert(
      fc.property(stored, (metadata) => {
        const headers = dataHeaders(metadata, { cacheControl: "private, no-cache" });
        const sent = new Map(headers);
        const contentType = referenceFieldValue(metadata.contentType) ?? "application/octet-stream";
        const plain = referenceFieldValue(metadata.contentDisposition);
        const download = referenceIsActive(contentType) ? referenceAttachment(plain) : plain;
        deepStrictEqual(sent.get("Content-Type"), contentType);
        deepStrictEqual(sent.get("Content-Disposition") ?? null, download);
        deepStrictEqual(sent.get("Content-Language") ?? null, referenceFieldValue(metadata.contentLanguage));
        deepStrictEqual(sent.get("Cache-Control"), "private, no-cache, no-transform");
        deepStrictEqual(sent.get("Content-Security-Policy"), "sandbox; default-src 'none'");
        deepStrictEqual(sent.get("X-Content-Type-Options"), "nosniff");
        deepStrictEqual(sent.size, headers.length);
        // As strict as the wire: throws at what would end a header early.
        for (const [name, value] of headers) validateHeaderValue(name, value);
      }),
      { numRuns: RUNS.storedHeaders },
    );
  },
);
