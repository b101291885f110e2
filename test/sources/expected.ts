/** Fills a server and asks it what it then has: that, and not what was put, is what a migration must bring. */
import { posix } from "node:path";
import type { Checks } from "../harness/checks.ts";
import { md5, MiB, type Uploaded } from "./corpus.ts";
import { askFor, fill, fillMany, list, type SourcePlace, shown } from "./fill.ts";
import type { SourceServer } from "./source-server.ts";

/** Above it an object is copied in parts; so are those that have the ETag of parts. */
export const THRESHOLD_BYTES = 8 * MiB;
/** Of the ordinary objects, one in so many is asked for its headers. */
const SAMPLE = 200;

/** An object as the source has it. */
export interface Expected {
  /** As the source lists it, relative to the prefix. */
  key: string;
  bytes: Uint8Array<ArrayBuffer>;
  etag: string;
  /** Seconds since 1970: a header's Last-Modified has no more. */
  modified: number;
  /** What the source says that it keeps, by lower-case name. */
  headers: Record<string, string>;
  proof: string;
}

/**
 * Puts ordinary objects, of which none may be refused, and special ones, of which some may be; returns what the server
 * holds in the end. What it refuses, keeps under another name or keeps otherwise than it was put is told by name.
 */
export async function fillWith(
  checks: Checks,
  server: SourceServer,
  place: SourcePlace,
  { ordinary, special }: { ordinary: readonly Uploaded[]; special: readonly Uploaded[] },
): Promise<Expected[]> {
  const begun = performance.now();
  const etags = await fillMany(server, place, ordinary);
  const put = await fill(server, place, special, { inOrder: true });
  const seconds = (performance.now() - begun) / 1000;
  checks.note(`${etags.size + put.etags.size} objects in ${seconds.toFixed(1)} s`);
  const { refuses } = server.manners;
  for (const [key, said] of put.refused) checks.note(`refused: ${shown(key)}, with ${said}`);
  const unexpected = [...put.refused.keys()].filter((key) => !refuses.some((rule) => rule.test(key)));
  checks.equal("it refuses none but what it is known to refuse", unexpected, []);

  const nameOf = (key: string) => (server.manners.foldsPaths ? folded(place.prefix, key) : key);
  // Later ones replace earlier ones of the same name, as they do at the server.
  const kept = new Map<string, Uploaded>();
  for (const uploaded of [...ordinary, ...special]) {
    if (put.refused.has(uploaded.key)) continue;
    const key = nameOf(uploaded.key);
    if (key !== uploaded.key) checks.note(`kept under another name: ${shown(uploaded.key)} as ${shown(key)}`);
    kept.set(key, { ...uploaded, key });
  }
  const listed = await list(server, place);
  const names = listed.map(({ key }) => key);
  checks.equal("it lists what was put, no more and no less", difference(names, [...kept.keys()]), NONE);
  const sizes = listed.filter(({ key, size }) => kept.get(key)?.bytes.length !== size);
  checks.equal("each with its size", sizes, []);

  const sample = ordinary.filter((_, index) => server.manners.datesTwice || index % SAMPLE === 0);
  const asked = new Set([...special, ...sample].map(({ key }) => nameOf(key)).filter((key) => kept.has(key)));
  const said = await askFor(server, place, [...asked]);
  const otherwise = new Set<string>();
  const expected = listed.flatMap(({ key, size, etag, modified }): Expected[] => {
    const uploaded = kept.get(key);
    if (uploaded === undefined) return [];
    const told = said.get(key);
    const headers = told?.headers ?? uploaded.headers;
    for (const name of new Set([...Object.keys(headers), ...Object.keys(uploaded.headers)])) {
      if (headers[name] !== uploaded.headers[name]) {
        otherwise.add(`${name}: ${uploaded.headers[name] ?? "nothing"} is ${headers[name] ?? "nothing"}`);
      }
    }
    const proof = proofOf(server, uploaded, etag, size);
    return [{ key, bytes: uploaded.bytes, etag, modified: told?.modified ?? modified, headers, proof }];
  });
  for (const text of otherwise) checks.note(`kept otherwise than it was put: ${text.slice(0, 200)}`);
  const wrong = expected.filter(({ etag, bytes }) => !etag.includes("-") && etag !== md5(bytes));
  checks.equal(
    "its ETags are the MD5s, but those of parts",
    wrong.map(({ key }) => shown(key)),
    [],
  );
  return expected;
}

/** The proof that a copy of it must have. */
function proofOf(server: SourceServer, uploaded: Uploaded, etag: string, size: number): string {
  if (!etag.includes("-")) return size > THRESHOLD_BYTES ? "parts" : "md5";
  const { proof } = uploaded;
  if (proof === undefined) throw new Error(`${server.name} gives ${shown(uploaded.key)} the ETag ${etag}`);
  return server.manners.tellsPartSize ? proof.whereTold : proof.otherwise;
}

/** The name under which a file system has it, relative to the prefix; a step at its end names the folder. */
function folded(prefix: string, key: string): string {
  const path = posix.normalize(`/${prefix}${key}`).slice(1 + prefix.length);
  return key.endsWith("/") ? path : path.replace(/\/$/, "");
}

export interface Difference {
  missing: string[];
  beside: string[];
}

export const NONE: Difference = { missing: [], beside: [] };

/** What two lists of names, in whatever order, do not have in common; a name twice counts as beside. */
export function difference(found: readonly string[], wanted: readonly string[]): Difference {
  const left = new Set(wanted);
  const beside = found.filter((name) => !left.delete(name));
  return { missing: [...left].map(shown), beside: beside.map(shown) };
}
