import { describe, expect, it } from "vitest";
import { XMLParser } from "fast-xml-parser";
import {
  formatParts,
  parseCompleted,
  parseListing,
  parseTagging,
  parseUploadId,
} from "../../workers/adapters/s3-xml.ts";

const listing = (inside: string): string =>
  `<?xml version="1.0"?><ListBucketResult><EncodingType>url</EncodingType>${inside}</ListBucketResult>`;
const entry = (key: string, inside = "<Size>3</Size><ETag>&quot;e&quot;</ETag>"): string =>
  `<Contents><Key>${key}</Key>${inside}</Contents>`;
const END = "<IsTruncated>false</IsTruncated>";
const MORE = "<IsTruncated>true</IsTruncated>";

function parsed(inside: string) {
  const result = parseListing(listing(inside));
  if (!result.ok) throw new Error(result.failure.detail);
  return result.value;
}
const problemOf = (xml: string, limit?: number) => {
  const result = parseListing(xml, limit);
  return result.ok ? null : result.failure;
};

describe("a listing", () => {
  it("tells objects, keys in their order, and what the next page is asked for by", () => {
    const time = "<LastModified>2026-01-02T03:04:05.000Z</LastModified><StorageClass>GLACIER</StorageClass>";
    const page = parsed(
      `${entry("a+b%2Bc")}${entry("d", `<Size>0</Size><ETag>"x-2"</ETag>${time}`)}${MORE}<NextContinuationToken>t/+=</NextContinuationToken>`,
    );
    expect(page).toEqual({
      objects: [
        { key: "a b+c", size: 3, etag: "e", lastModified: 0 },
        { key: "d", size: 0, etag: "x-2", lastModified: Date.UTC(2026, 0, 2, 3, 4, 5), storageClass: "GLACIER" },
      ],
      malformed: [],
      keys: ["a b+c", "d"],
      truncated: true,
      token: "t/+=",
      prefixes: [],
    });
  });

  it("may be of prefixes, and of nothing", () => {
    const prefixes =
      "<CommonPrefixes><Prefix>x%20/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>y/</Prefix></CommonPrefixes>";
    expect(parsed(END + prefixes)).toMatchObject({ objects: [], keys: [], prefixes: ["x /", "y/"], token: null });
    expect(parsed(`${END}<CommonPrefixes><Prefix>one/</Prefix></CommonPrefixes>`).prefixes).toEqual(["one/"]);
  });

  it.each([
    ["no size", "<ETag>e</ETag>", "no size"],
    ["a size that is no number", "<Size>-1</Size><ETag>e</ETag>", "no size"],
    ["a size beyond all numbers", "<Size>99999999999999999</Size><ETag>e</ETag>", "no size"],
    ["no ETag", "<Size>1</Size>", "no ETag"],
    ["an empty ETag", "<Size>1</Size><ETag>&quot;&quot;</ETag>", "no ETag"],
    ["an ETag of a kilobyte", `<Size>1</Size><ETag>${"e".repeat(1024)}</ETag>`, "no ETag"],
  ])("goes on past an entry with %s, which is named", (_what, inside, said) => {
    const page = parsed(entry("a") + entry("b", inside) + entry("c") + END);
    expect(page.objects.map(({ key }) => key)).toEqual(["a", "c"]);
    expect(page.keys).toEqual(["a", "b", "c"]);
    expect(page.malformed).toEqual([{ key: "b", detail: expect.stringContaining(said) as string }]);
  });

  it("goes on past a key that cannot be decoded, which is named as it came", () => {
    const page = parsed(entry("a") + entry("%ff%fe") + entry("c") + END);
    expect(page.keys).toEqual(["a", "c"]);
    expect(page.malformed).toMatchObject([{ key: "%ff%fe" }]);
  });

  it("leaves keys that cannot be decoded behind the last that can to the next page, which begins with them", () => {
    const undecodable = entry("%ff");
    expect(parsed(entry("a") + undecodable + MORE)).toMatchObject({ keys: ["a"], malformed: [] });
    expect(parsed(undecodable + entry("b") + MORE)).toMatchObject({ keys: ["b"], malformed: [{ key: "%ff" }] });
    expect(parsed(entry("a") + undecodable + END)).toMatchObject({ keys: ["a"], malformed: [{ key: "%ff" }] });
    expect(parsed(undecodable + MORE)).toMatchObject({ keys: [], malformed: [{ key: "%ff" }] });
  });

  it("is refused with an entry without a key: nobody could say what is missing", () => {
    for (const wrong of [
      entry(""),
      "<Contents><Size>1</Size></Contents>",
      "<Contents>text</Contents>",
      entry("k".repeat(5000)),
    ]) {
      expect(problemOf(listing(entry("a") + wrong + END)), wrong.slice(0, 50)).toMatchObject({
        code: "source-bad-answer",
        detail: expect.stringContaining("no key") as string,
      });
    }
  });

  it("is refused with more entries than were asked for", () => {
    expect(problemOf(listing(entry("a") + entry("b") + END), 1)?.detail).toContain("over 1 entries");
    const many = Array.from({ length: 1001 }, (_, n) => entry(String(n).padStart(4, "0"))).join("");
    expect(problemOf(listing(many + END))?.detail).toContain("over 1,000 entries");
  });

  it("is refused where it is none, or does not say whether it is all", () => {
    for (const xml of ["", "<html></html>", "<Error><Code>x</Code></Error>", listing(entry("a")), "{}"]) {
      expect(problemOf(xml), xml).toMatchObject({ code: "source-bad-answer" });
    }
  });
});

describe("an upload's documents", () => {
  it("name the upload, and the ETag of the whole", () => {
    const started = "<InitiateMultipartUploadResult><UploadId>a&amp;b/+=</UploadId></InitiateMultipartUploadResult>";
    expect(parseUploadId(started)).toBe("a&b/+=");
    const done = "<CompleteMultipartUploadResult><ETag>&quot;abc-2&quot;</ETag></CompleteMultipartUploadResult>";
    expect(parseCompleted(done)).toBe("abc-2");
  });

  it("that are something else name nothing", () => {
    for (const xml of [
      "",
      "<html/>",
      "<Error><Code>InternalError</Code><UploadId>x</UploadId><ETag>x</ETag></Error>",
    ]) {
      expect([parseUploadId(xml), parseCompleted(xml)], xml).toEqual([null, null]);
    }
    expect(parseUploadId("<InitiateMultipartUploadResult/>")).toBeNull();
    expect(parseCompleted("<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>")).toBeNull();
  });

  it("name the parts, whatever their ETags are", () => {
    const parts = [
      { partNumber: 1, etag: "d41d8cd98f00b204e9800998ecf8427e" },
      { partNumber: 10_000, etag: "<&>" },
    ];
    const read = new XMLParser({ parseTagValue: false }).parse(formatParts(parts)) as unknown;
    expect(read).toEqual({
      CompleteMultipartUpload: {
        Part: [
          { PartNumber: "1", ETag: '"d41d8cd98f00b204e9800998ecf8427e"' },
          { PartNumber: "10000", ETag: '"<&>"' },
        ],
      },
    });
  });
});

describe("the tags of an object", () => {
  const tagging = (inside: string): string =>
    `<?xml version="1.0"?>\n<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>${inside}</TagSet></Tagging>`;
  const tag = (key: string, value: string): string => `\n  <Tag>\n<Key>${key}</Key>\n<Value>${value}</Value></Tag>\n`;

  it("are read as they are, one or several, with whatever is in them", () => {
    expect(parseTagging(tagging(tag("team", "earth obs")))).toEqual({ team: "earth obs" });
    const several = tag(" a=b ", "&lt;&amp;&gt; &#34;x&#xE9;&#34;") + tag("007", "1.50") + tag("empty", "");
    expect(parseTagging(tagging(several))).toEqual({ " a=b ": '<&> "xé"', "007": "1.50", empty: "" });
    expect(parseTagging(tagging("<Tag><Key>bare</Key><Value/></Tag>"))).toEqual({ bare: "" });
  });

  it("are none where there are none, or the answer is another, or S3 would not have them", () => {
    for (const xml of [
      ...["", "{}", "<html></html>", "<Error><Code>NoSuchTagSet</Code></Error>", "<Tagging/>", tagging("")],
      ...[tagging("<Tag><Value>v</Value></Tag>"), tagging("<Tag>text</Tag>"), tagging(tag("k".repeat(129), "v"))],
      tagging(Array.from({ length: 11 }, (_, n) => tag(`k${n}`, "v")).join("")),
    ]) {
      expect(parseTagging(xml), xml).toBeNull();
    }
  });
});
