import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { checkKey, formatDataUrl, parseDataTarget, utf8Length } from "../../workers/core/http/key-path.ts";

const HOST = "https://data.example.org";

function target(path: string) {
  const result = parseDataTarget(HOST + path);
  if (!result.ok) throw new Error(`${path}: ${result.failure.code}: ${result.failure.detail}`);
  return result.value;
}
function refusal(path: string) {
  const result = parseDataTarget(HOST + path);
  if (result.ok) throw new Error(`${path} was accepted as ${JSON.stringify(result.value)}`);
  return result.failure;
}
const key = (path: string) => target(path).key;

describe("the two doors", () => {
  test("/d/<dataset>@<version>/<key>?token= names all five", () => {
    expect(target("/d/era5@3/a%20b/c?token=x")).toEqual({
      door: "d",
      dataset: "era5",
      version: "3",
      key: "a b/c",
      token: "x",
    });
  });
  test("/t/<capability>/<dataset>/<key> carries its secret in the path", () => {
    expect(target("/t/v1.abc-_.sig/era5@12/zarr.json")).toEqual({
      door: "t",
      capability: "v1.abc-_.sig",
      dataset: "era5",
      version: "12",
      key: "zarr.json",
    });
  });
  test("a token is null when it is absent or empty, and decoded once otherwise", () => {
    expect(target("/d/era5/k")).toMatchObject({ token: null });
    expect(target("/d/era5/k?token=")).toMatchObject({ token: null });
    expect(target("/d/era5/k?other=1&token=a%2Bb%3D+%2525")).toMatchObject({ token: "a+b=+%25" });
    expect(refusal("/d/era5/k?token=%ff")).toMatchObject({ code: "invalid-token" });
  });
  test("?token= is no business of the capability's door", () => {
    expect(target("/t/cap/era5/k?token=%ff")).not.toHaveProperty("token");
  });
  test.each(["", "/", "/d", "/d/", "/t", "/t/", "/t/cap", "/t/cap/", "/x/era5/k", "/D/era5/k", "//d/era5/k", "?key=k"])(
    "%j is no data route",
    (path) => {
      expect(refusal(path).code).toBe("unknown-route");
    },
  );
  test.each(["", "/d/era5/k", "d/era5/k", "https:/d/era5/k"])("%j is no absolute URL, so no route", (url) => {
    expect(parseDataTarget(url)).toMatchObject({ ok: false, failure: { code: "unknown-route" } });
  });
});

describe("the dataset and its version", () => {
  test("no version is live", () => {
    expect(target("/d/era5/k").version).toBe("live");
    expect(target("/d/era5@live/k").version).toBe("live");
  });
  test("a client may have escaped the @", () => {
    expect(target("/d/era5%403/k")).toMatchObject({ dataset: "era5", version: "3" });
  });
  test.each(["1", "42", "999999999"])("version %s is taken as it is", (version) => {
    expect(target(`/d/era5@${version}/k`).version).toBe(version);
  });
  test.each(["", "0", "01", "-1", "1.0", "1000000000", "LIVE", "latest", "3@4", "%31x"])(
    "version %j is unknown",
    (version) => {
      expect(refusal(`/d/era5@${version}/k`)).toMatchObject({ code: "unknown-version", field: "version" });
    },
  );
  test.each(["a", "0", "era5", "era5-land", `a${"b".repeat(62)}`])("dataset %s may be", (dataset) => {
    expect(target(`/d/${dataset}/k`).dataset).toBe(dataset);
  });
  test.each(["Era5", "-era5", "era_5", "era5%2Fx", "%ff", "%", "é", `a${"b".repeat(63)}`, "@3", "era5%0A"])(
    "dataset %s may not",
    (dataset) => {
      expect(refusal(`/d/${dataset}/k`)).toMatchObject({ code: "invalid-name", field: "dataset" });
      expect(refusal(`/t/cap/${dataset}?key=k`)).toMatchObject({ code: "invalid-name", field: "dataset" });
    },
  );
});

describe("the key in the path", () => {
  test.each([
    ["a+b=c", "a+b=c"],
    ["a%2Bb", "a+b"],
    ["a%20b", "a b"],
    ["%23%3F", "#?"],
    ["100%25", "100%"],
    ["%252e%252E", "%2e%2E"],
    ["caf%C3%A9/é", "café/é"],
    ["%EF%BB%BFbom", "\uFEFFbom"],
    ["%F0%9F%98%80", "😀"],
    ["year=2024/c/0.0.0", "year=2024/c/0.0.0"],
    ["dir/", "dir/"],
    ["dir%2F", "dir/"],
    ["%2Fabsolute", "/absolute"],
    ["a%2F..%2Fx", "a/../x"],
    ["a%2F%2Fb", "a//b"],
    ["%2e%2F", "./"],
    ["...", "..."],
    [".zarray", ".zarray"],
    ["a/..b/c..", "a/..b/c.."],
    ["a\\..\\b", "a\\..\\b"],
    ["k@3", "k@3"],
  ])("%s is decoded once, to %j", (path, expected) => {
    expect(key(`/d/era5@3/${path}`)).toBe(expected);
    expect(key(`/t/cap/era5@3/${path}`)).toBe(expected);
    expect(key(`/d/era5@3/${path}#fragment?key=z`)).toBe(expected);
  });

  test.each([
    "%",
    "%4",
    "%zz",
    "a%",
    "%C3",
    "%C3%28",
    "%C0%AF",
    "%C0%80",
    "%E0%80%AF",
    "%ED%A0%80",
    "%F4%90%80%80",
    "%FF",
  ])("%s is not UTF-8, percent-encoded, and is refused", (path) => {
    expect(refusal(`/d/era5/${path}`)).toMatchObject({ code: "invalid-key", field: "key" });
    expect(refusal(`/d/era5?key=${path}`)).toMatchObject({ code: "invalid-key", field: "key" });
  });

  test.each([
    "/a//b",
    "//a",
    "/a//",
    "/./a",
    "/a/.",
    "/a/..",
    "/../b",
    "/a/%2e/b",
    "/a/%2E%2e/b",
    "/a/.%2e",
    "/%2e.",
    "/..?key=",
  ])("a literal %s does not survive on the way: refused, with the way out", (path) => {
    const { code, field, detail } = refusal(`/d/era5${path}`);
    expect({ code, field }).toEqual({ code: "invalid-key", field: "key" });
    expect(detail).toContain("/d/<dataset>?key=<percent-encoded>");
    expect(detail).toContain("%2F");
  });
  test("nor do such segments before the key", () => {
    expect(refusal("/d/../t/era5/k").code).toBe("invalid-key");
    expect(refusal("/t//era5/k").code).toBe("invalid-key");
  });

  test.each(["/d/era5", "/d/era5/", "/d/era5?key=", "/d/era5?key", "/d/era5?token=t", "/t/cap/era5"])(
    "%s names no key",
    (path) => {
      expect(refusal(path)).toMatchObject({ code: "invalid-key", field: "key" });
    },
  );
  test("a NUL is refused", () => {
    expect(refusal("/d/era5/a%00b").code).toBe("invalid-key");
  });
  test("a key may have 1,024 bytes, counted decoded and in UTF-8", () => {
    expect(key(`/d/era5/${"%C3%A9".repeat(512)}`)).toBe("é".repeat(512));
    expect(refusal(`/d/era5/${"%C3%A9".repeat(512)}a`)).toMatchObject({ code: "key-too-long", field: "key" });
    expect(refusal(`/d/era5?key=${"a".repeat(1025)}`)).toMatchObject({ code: "key-too-long", field: "key" });
  });
});

describe("the key in the query", () => {
  test.each([
    ["/d/era5@3?key=..", ".."],
    ["/d/era5@3/?key=a//b", "a//b"],
    ["/d/era5@3?key=a/../b", "a/../b"],
    ["/d/era5@3?token=t&key=%2e%2E/", "../"],
    ["/d/era5@3?key=a+b%2Bc%20d", "a+b+c d"],
    ["/d/era5@3?key=a%26b%3Dc%23&x=1", "a&b=c#"],
    ["/d/era5@3?key=a?b=c", "a?b=c"],
    ["/t/cap/era5@3?key=a%252F", "a%2F"],
  ])("%s is decoded once, to %j", (path, expected) => {
    expect(key(path)).toBe(expected);
  });
  test.each(["/d/era5/a?key=b", "/d/era5/a?key=a", "/d/era5/a?key=", "/d/era5?key=a&key=b", "/t/cap/era5/a?key=b"])(
    "%s names a key twice and is refused",
    (path) => {
      expect(refusal(path)).toMatchObject({ code: "invalid-key", field: "key" });
      expect(refusal(path).detail).toContain("more than once");
    },
  );
  test("parameters whose names only resemble key are none of ours", () => {
    expect(key("/d/era5/a?keys=b&akey=c&KEY=d")).toBe("a");
  });
});

describe("a key in a JSON body", () => {
  test("is whatever R2 can hold", () => {
    for (const good of ["a", "a//b", "..", "/", "\n", "😀", "é".repeat(512)])
      expect(checkKey(good)).toEqual({ ok: true, value: good });
  });
  test.each([
    ["", "invalid-key"],
    ["a\0", "invalid-key"],
    ["\ud800", "invalid-key"],
    ["a\udc00b", "invalid-key"],
    ["é".repeat(513), "key-too-long"],
  ])("%j is refused under the field the caller used", (bad, code) => {
    expect(checkKey(bad, "keys[7]")).toMatchObject({ ok: false, failure: { code, field: "keys[7]" } });
  });
});

describe("a URL made for a key", () => {
  const BASE = `${HOST}/d/era5@live`;

  test.each([
    ["year=2024/c/0.0", "/year%3D2024/c/0.0"],
    ["a b/c", "/a%20b/c"],
    ["dir/", "/dir/"],
    ["/a", "/%2Fa"],
    ["/", "/%2F"],
    ["a//b/c", "/a%2F%2Fb/c"],
    ["a//", "/a%2F%2F"],
    ["x/a/../b/y", "/x/a%2F..%2Fb/y"],
    ["a/.", "/a%2F."],
    ["./", "/.%2F"],
    ["%2e%2e", "/%252e%252e"],
    [".", "?key=."],
    ["..", "?key=.."],
    ["...", "/..."],
  ])("%j is %s", (name, path) => {
    expect(formatDataUrl(BASE, name)).toBe(BASE + path);
    expect(key(`/d/era5@live${path}`)).toBe(name);
  });

  const nastySegment = fc.constantFrom(
    "",
    ".",
    "..",
    "...",
    "a",
    "%",
    "%2e",
    "%2F",
    "+",
    "é",
    "\\",
    "?",
    "#",
    "@",
    ":",
    ";",
    "&key=",
    "\r\n",
    "\uFEFF",
    "😀",
  );
  const nastyKey = fc.array(nastySegment, { minLength: 1, maxLength: 8 }).map((segments) => segments.join("/"));
  const anyKey = fc
    .oneof(nastyKey, fc.string({ unit: "binary" }), fc.string({ unit: fc.constantFrom(..."./%2eE\\a") }))
    .filter((name) => checkKey(name).ok);

  test("parses back to the key, byte for byte, at either door", () => {
    fc.assert(
      fc.property(anyKey, (name) => {
        expect(parseDataTarget(formatDataUrl(BASE, name))).toEqual({
          ok: true,
          value: { door: "d", dataset: "era5", version: "live", key: name, token: null },
        });
        expect(parseDataTarget(formatDataUrl(`${HOST}/t/cap/era5@7`, name))).toEqual({
          ok: true,
          value: { door: "t", capability: "cap", dataset: "era5", version: "7", key: name },
        });
      }),
      { numRuns: 3000 },
    );
  });
  test("is not changed by a WHATWG URL parser on the way", () => {
    fc.assert(
      fc.property(anyKey, (name) => {
        expect(new URL(formatDataUrl(BASE, name)).href).toBe(formatDataUrl(BASE, name));
      }),
      { numRuns: 3000 },
    );
  });
});

test("no URL makes the parser throw, and no accepted key is one that checkKey refuses", () => {
  const units = fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code));
  const tail = fc.oneof(
    fc.string({ unit: units }),
    fc.string({ unit: fc.constantFrom(..."/.%2eEfF0c8?#&=@+akey\\\0\n") }),
  );
  const url = fc.tuple(fc.constantFrom("", HOST, `${HOST}/d/era5/`, `${HOST}/t/c/a@1/`, `${HOST}/d/a?key=`), tail);
  fc.assert(
    fc.property(url, ([head, rest]) => {
      const result = parseDataTarget(head + rest);
      if (result.ok) expect(checkKey(result.value.key).ok).toBe(true);
    }),
    { numRuns: 5000 },
  );
});

test("utf8Length counts bytes, not characters", () => {
  expect(["", "a", "é", "€", "😀"].map(utf8Length)).toEqual([0, 1, 2, 3, 4]);
});
