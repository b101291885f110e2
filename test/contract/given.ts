import { expect } from "vitest";
import type { Failure } from "../../workers/core/failure.ts";
import type { Result } from "../../workers/core/result.ts";
import type { Metadata, ObjectReader } from "../../workers/ports/object-store.ts";

/** An object that a suite wants to find in the store. */
export interface Given {
  key: string;
  bytes: Uint8Array<ArrayBuffer>;
  metadata?: Partial<Metadata>;
}

export interface ReaderSetup {
  reader: ObjectReader;
  /** Puts objects into the store, by whatever way leads there. */
  give(objects: readonly Given[]): Promise<void>;
}

/** What an endpoint, not the adapter, cannot do. Whatever it is asked of this must fail: it never gives other bytes. */
export interface EndpointLimits {
  /** Keys with the segments "." and ".." are refused. */
  refusesDotSegments?: boolean;
  /** Those of the nasty keys that it cannot hold. */
  cannotHold?: readonly string[];
  /** Bodies with a Content-Encoding are encoded once more on their way out. */
  encodesTwice?: boolean;
}

export const utf8 = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(new TextEncoder().encode(text));

/** Bytes that differ from place to place, so that a shifted range is seen. */
export const pattern = (size: number, seed = 0): Uint8Array<ArrayBuffer> =>
  new Uint8Array(size).map((_, index) => (index * 31 + (index >> 8) + seed) % 251);

/** The value of a result that must be one. */
export function expectOk<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  expect(result).toMatchObject({ ok: true });
  throw new Error("unreachable");
}

export const refused = (code: Failure["code"]) => ({ ok: false, failure: { code } });

export async function bytesOf(body: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** An object's bytes as text; the reading of it must succeed. */
export async function textAt(reader: ObjectReader, key: string): Promise<string> {
  return new TextDecoder().decode(await bytesOf(expectOk(await reader.get(key)).body));
}

/** Every key under a prefix, and how many there were on each page. */
export async function walk(reader: ObjectReader, prefix: string, from: string | null = null) {
  const keys: string[] = [];
  const pages: number[] = [];
  let after = from;
  do {
    const page = expectOk(await reader.list({ prefix, after }));
    keys.push(...page.objects.map(({ key }) => key));
    pages.push(page.objects.length);
    after = page.next;
  } while (after !== null);
  return { keys, pages };
}

/** Sorts as S3 and R2 do, in the plainest way: by the bytes. */
export const inByteOrder = (keys: readonly string[]): string[] =>
  keys.toSorted((a, b) => {
    const [left, right] = [utf8(a), utf8(b)];
    const at = left.findIndex((byte, index) => byte !== right[index]);
    return at === -1 ? left.length - right.length : (left[at] ?? 0) - (right[at] ?? -1);
  });

/** Keys that something on the way might decode, fold, trim or reorder; many would be another of them if it did. */
export const NASTY_KEYS = [
  "plain",
  "a b",
  "a+b",
  "a%20b",
  "a%2Bb",
  "a%2Fb",
  "a%252Fb",
  "a/b",
  "a//b",
  "a///b",
  "/a/b",
  "a/b/",
  "100%",
  "k=v&k2=v2",
  "c:d",
  "a;b,c@d$e",
  "#anchor",
  "q",
  "q?x=1",
  "q?partNumber=1",
  "it's (all) right!*",
  "~tilde_-.",
  "back\\slash",
  'quo"te',
  "<xml>&amp;</xml>",
  "{brace}|^`",
  " blanks around ",
  "tab\tkey",
  "line\nfeed",
  "control\u0001key",
  "delete\u007fkey",
  ".hidden",
  "...",
  "a..b",
  "a/%2e%2e/b",
  "UPPER",
  "upper",
  "0",
  "00",
  " 007 ",
  "1e3",
  "ünïcödé",
  "日本語/ファイル",
  "\u{FF5E}", // U+FF5E is EF BD 9E in UTF-8, and sorts before U+1F600, which is F0 9F 98 80; in UTF-16 it sorts after
  "\u{1F600}",
  "\u{E000}",
  "\u{10FFFF}",
  "zero\u200dwidth",
] as const;

/** Each would be "b" or "a/b" to whoever resolves dot segments. */
export const DOT_KEYS = [
  "dots/./b",
  "dots/x/../b",
  "dots/a/./b",
  "dots/../b",
  "dots/a/b/.",
  "dots/a/b/..",
  "./b",
  "../b",
  "b/..",
  ".",
  "..",
] as const;
