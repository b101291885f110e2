import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { dataHeaders, type StoredHeaders } from "../../workers/core/http/stored-headers.ts";

const OPTIONS = { cacheControl: "private, max-age=60" };
const headersOf = (stored: StoredHeaders) => new Map(dataHeaders(stored, OPTIONS));

test("every data answer is inert in a browser, readable from other origins, and ranged", () => {
  expect(Object.fromEntries(dataHeaders({}, OPTIONS))).toEqual({
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "Accept-Ranges": "bytes",
    "Content-Type": "application/octet-stream",
    "Cache-Control": "private, max-age=60, no-transform",
  });
});

test("what is stored with an inert object is replayed as it is", () => {
  const headers = headersOf({
    contentType: "application/json; charset=utf-8",
    contentEncoding: "gzip",
    contentLanguage: "de, en",
    contentDisposition: 'inline; filename="r\xe9sum\xe9.json"',
  });
  expect(headers.get("Content-Type")).toBe("application/json; charset=utf-8");
  expect(headers.get("Content-Encoding")).toBe("gzip");
  expect(headers.get("Content-Language")).toBe("de, en");
  expect(headers.get("Content-Disposition")).toBe('inline; filename="r\xe9sum\xe9.json"');
});

describe("Cache-Control", () => {
  test("is ours, whatever R2 holds beside the object", () => {
    const stored = { cacheControl: "public, max-age=31536000" } as StoredHeaders;
    expect(headersOf(stored).get("Cache-Control")).toBe("private, max-age=60, no-transform");
  });
  test("has no-transform once", () => {
    const headers = new Map(dataHeaders({}, { cacheControl: "no-store, No-Transform" }));
    expect(headers.get("Cache-Control")).toBe("no-store, No-Transform");
  });
});

describe("a stored value that cannot stand in a header", () => {
  test.each([
    "a\r\nSet-Cookie: x=1",
    "a\nb",
    "a\rb",
    "a\0b",
    "a\x7fb",
    "a\x1bb",
    "日本語",
    "a\u{1F600}",
    "\ud800",
    "",
    "  ",
  ])("%j is left out, and the type falls back", (bad) => {
    const headers = headersOf({
      contentType: bad,
      contentEncoding: bad,
      contentLanguage: bad,
      contentDisposition: bad,
    });
    expect(headers.get("Content-Type")).toBe("application/octet-stream");
    for (const name of ["Content-Encoding", "Content-Language", "Content-Disposition"]) {
      expect(headers.has(name)).toBe(false);
    }
  });
});

describe("what a browser would run or render is a download", () => {
  test.each([
    "text/html",
    "TEXT/HTML",
    "text/html; charset=utf-8",
    " text/html ;charset=utf-8",
    "text/html(comment)",
    "text/html x",
    "text/plain, text/html",
    "application/json,image/svg+xml;x=y",
    "application/xhtml+xml",
    "image/svg+xml",
    "image/svg",
    "text/xml",
    "text/xsl",
    "application/xml; charset=utf-8",
    "application/rss+xml",
    "application/vnd.x.y+XML",
    "text/javascript",
    "application/javascript;v=1",
    "application/x-javascript",
    "text/javascript1.5",
    "text/ecmascript",
    "application/x-ecmascript",
    "text/jscript",
    "text/livescript",
    "multipart/x-mixed-replace; boundary=x",
    "Multipart/related",
  ])("%s", (contentType) => {
    expect(headersOf({ contentType }).get("Content-Disposition")).toBe("attachment");
    expect(headersOf({ contentType }).get("Content-Type")).toBe(contentType.trim());
  });

  test.each([
    "application/octet-stream",
    "application/json",
    "application/ld+json",
    "text/plain; charset=utf-8",
    "text/csv",
    "image/png",
    "image/tiff; application=geotiff; profile=cloud-optimized",
    "application/x-netcdf",
    "application/vnd.apache.parquet",
    "application/xml-not-quite",
    "text/htmlish",
    "application/pdf",
  ])("%s is not", (contentType) => {
    expect(headersOf({ contentType }).has("Content-Disposition")).toBe(false);
  });

  test.each([
    ['inline; filename="x"', 'attachment; filename="x"'],
    ["inline; filename=x.html", "attachment; filename=x.html"],
    ["INLINE;FileName = x.html ;", "attachment; filename=x.html"],
    [
      "attachment; filename=\"e.html\"; filename*=UTF-8''%e2%82%ac.html",
      "attachment; filename=\"e.html\"; filename*=UTF-8''%e2%82%ac.html",
    ],
    ['inline; filename="a;b\\"c"; size=3', 'attachment; filename="a;b\\"c"'],
    ['inline; name="; filename=evil"', "attachment"],
    ["inline", "attachment"],
    ["inline; filename=two words", "attachment"],
    ['inline; filename="never closed', "attachment"],
    ['inline; filename="x", inline', "attachment"],
    ['filename="x"', "attachment"],
    ['inline; filename="x"\r\nX: y', "attachment"],
    ['inline; filename="日本"', "attachment"],
  ])("a stored %j goes out as %j", (contentDisposition, expected) => {
    expect(headersOf({ contentType: "text/html", contentDisposition }).get("Content-Disposition")).toBe(expected);
  });
});

test("whatever is stored, the headers are ones that a browser's Headers takes, each name once", () => {
  const text = fc.option(
    fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: fc.constantFrom(...'texhml/+;=", \\\r\n\0\xe9') })),
    { nil: undefined },
  );
  const stored = fc.record({
    contentType: text,
    contentEncoding: text,
    contentLanguage: text,
    contentDisposition: text,
  });
  fc.assert(
    fc.property(stored, (metadata) => {
      const headers = dataHeaders(metadata, OPTIONS);
      const kept = new Headers(headers);
      expect([...kept.keys()].length).toBe(headers.length);
      for (const [name, value] of headers) expect(kept.get(name)).toBe(value);
    }),
    { numRuns: 2000 },
  );
});

test("hostile metadata of 8,192 bytes is read like any other: a backtracking pattern would not come back", () => {
  for (const unit of [";", "; ", '"', "\\", ";a=", "multipart", "text/", "a+xml", "text/x-", " ", "\t;"]) {
    const value = `inline;${unit.repeat(8192 / unit.length)}!`;
    const headers = dataHeaders({ contentType: `text/html ${value}`, contentDisposition: value }, OPTIONS);
    expect(new Headers(headers).get("content-disposition")).not.toBeNull();
  }
});
