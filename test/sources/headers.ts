/** Objects for what S3 keeps beside the bytes: every header, and as much metadata as R2 takes. */
import { bytesOf, type Uploaded, uploadOf } from "./corpus.ts";
import type { S3Answer } from "./s3-client.ts";

/** What S3 and R2 keep of an object's headers, beside user metadata (Amazon S3 API Reference, PutObject). */
const STORED_HEADERS = [
  "content-type",
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "expires",
] as const;

/** R2 takes this many bytes of metadata, names and values, with what Penstock adds (R2 limits). */
const METADATA_MAX_BYTES = 8192;
/** What Penstock leaves on a copy: the migration's id, the source's ETag and the milliseconds of its Last-Modified. */
const OURS_BYTES =
  "penstock-migration".length +
  "mig_01M8142HGF3RRQ7EJWS70ZSPJC".length +
  "penstock-source-etag".length +
  32 +
  "penstock-source-modified".length +
  13;
/** AWS's own limit of user metadata (Amazon S3 User Guide, "Working with object metadata"). */
const AWS_MAX_BYTES = 2048;
const TYPE = "application/x-headers";

/** Objects that must arrive with all of it. */
export function headerObjects(): Uploaded[] {
  const expires = "Wed, 21 Oct 2026 07:28:00 GMT";
  const all = {
    "cache-control": 'public, max-age=31536000, immutable, private="set-cookie"',
    "content-disposition": `attachment; filename="a, b; \\"c\\".bin"; filename*=UTF-8''na%C3%AFve.bin`,
    "content-language": "de-CH, en;q=0.5",
    expires,
    "x-amz-meta-station": "S-1",
  };
  return [
    named("all", { ...all, "content-encoding": "zstd" }),
    named("cache-control", { "cache-control": "no-store" }),
    named("content-disposition", { "content-disposition": "inline" }),
    named("content-language", { "content-language": "rm" }),
    named("content-encoding-br", { "content-encoding": "br" }),
    named("content-encoding-two", { "content-encoding": "gzip, gzip" }),
    named("content-encoding-identity", { "content-encoding": "identity" }),
    named("expires", { expires }),
    named("type-html", { "content-type": "text/html; charset=utf-8" }),
    named("type-odd", { "content-type": 'multipart/related; boundary="a b"; type="x/y"' }),
    named("metadata-many", Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`x-amz-meta-n${n}`, `v${n}`]))),
    named("metadata-names", { "x-amz-meta-a.b_c-d": "dots, lines and dashes", "x-amz-meta-0": "a digit" }),
    named("metadata-values", {
      "x-amz-meta-json": '{"a": [1, 2, "x"], "b": "c=d; e"}',
      "x-amz-meta-encoded": "=?UTF-8?Q?na=C3=AFve?=",
      "x-amz-meta-percent": "100%25 %zz",
    }),
    named("metadata-2-kb", filled(AWS_MAX_BYTES)),
    { key: "headers/empty", bytes: bytesOf(""), headers: { "content-type": TYPE, ...all } },
  ];
}

/** Whether a server takes these is its own affair; where it does they must arrive as it says that they are. */
export function courtesyObjects(): Uploaded[] {
  return [
    named("metadata-not-ascii", { "x-amz-meta-place": "Zürich 😀" }),
    named("metadata-latin", { "x-amz-meta-place": "Zürich" }),
    named("metadata-empty", { "x-amz-meta-empty": "" }),
    { key: "headers/no-type", bytes: bytesOf("no type"), headers: {} },
    { ...named("just-within", {}), headers: { "content-type": TYPE, ...filled(ROOM_BYTES) } },
  ];
}

/** One byte more than R2 takes, and 8 KB of the user's own. */
export function oversizedObjects(): Uploaded[] {
  return [
    { ...named("just-beyond", {}), headers: { "content-type": TYPE, ...filled(ROOM_BYTES + 1) } },
    { ...named("8-kb", {}), headers: { "content-type": TYPE, ...filled(METADATA_MAX_BYTES) } },
  ];
}

/** What is left to the source's metadata beside ours and the Content-Type. */
const ROOM_BYTES = METADATA_MAX_BYTES - OURS_BYTES - TYPE.length;

/** User metadata of so many bytes, names and values together, in values of at most 1,000. */
function filled(bytes: number): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let left = bytes, index = 0; left > 0; index++) {
    const name = `m${index}`;
    const length = Math.min(1000, left - name.length);
    headers[`x-amz-meta-${name}`] = "v".repeat(length);
    left -= name.length + length;
  }
  return headers;
}

const named = (name: string, headers: Record<string, string>): Uploaded =>
  uploadOf(`headers/${name}`, bytesOf(name), TYPE, headers);

/** What a server says that it keeps with the object. */
export function storedHeaders({ headers }: Pick<S3Answer, "headers">): Record<string, string> {
  const kept = Object.entries(headers).filter(
    ([name]) => name.startsWith("x-amz-meta-") || (STORED_HEADERS as readonly string[]).includes(name),
  );
  return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
}
