/**
 * Conditional requests against an object that exists (RFC 9110, section 13). Decided before `Range` is looked at, so
 * that a reader who holds the object gets its 304 whatever part it asks for.
 *
 * Our own ETags are always strong. Dates are compared in whole seconds, which is all that the wire carries.
 */

import { parseHttpDate } from "./date.ts";

/** The request's fields as received; null where absent. */
export interface Preconditions {
  readonly method: string;
  readonly ifMatch: string | null;
  readonly ifNoneMatch: string | null;
  readonly ifModifiedSince: string | null;
  readonly ifUnmodifiedSince: string | null;
  /** Not a condition on the request, only on its `Range`: see {@link rangeApplies}. */
  readonly ifRange: string | null;
}

/** The object as it is. */
export interface Validators {
  /** The opaque tag, without quotes. */
  readonly etag: string;
  /** Epoch milliseconds. */
  readonly lastModified: number;
}

export type Verdict = "proceed" | "not-modified" | "precondition-failed";

/** An entity tag, without quotes (RFC 9110, section 8.8.3). */
export interface Etag {
  readonly weak: boolean;
  readonly tag: string;
}

/**
 * Steps 1 to 4 of RFC 9110, section 13.2.2. A date that cannot be read is as good as none (sections 13.1.3, 13.1.4),
 * and a date is not looked at when its ETag sibling is there.
 */
export function evaluateConditions(request: Preconditions, current: Validators): Verdict {
  if (request.ifMatch !== null) {
    if (!names(request.ifMatch, current, "strong")) return "precondition-failed";
  } else if (changedSince(request.ifUnmodifiedSince, current) === true) {
    return "precondition-failed";
  }

  const isRead = request.method === "GET" || request.method === "HEAD";
  if (request.ifNoneMatch !== null) {
    if (names(request.ifNoneMatch, current, "weak")) return isRead ? "not-modified" : "precondition-failed";
  } else if (isRead && changedSince(request.ifModifiedSince, current) === false) {
    return "not-modified";
  }
  return "proceed";
}

/**
 * Step 5: whether `Range` may be honoured (RFC 9110, section 13.1.5). With no `If-Range` it may; else the validator must
 * be the strong ETag or the exact date. When false, the answer is the whole object: bytes of two versions never mix.
 */
export function rangeApplies(ifRange: string | null, current: Validators): boolean {
  if (ifRange === null) return true;
  const date = parseHttpDate(ifRange, current.lastModified);
  if (date !== null) return date === wholeSeconds(current.lastModified);

  const [only, ...others] = parseEtagList(ifRange);
  return only !== undefined && others.length === 0 && !only.weak && only.tag === current.etag;
}

/**
 * Reads a list of entity tags. Commas and blanks inside quotes belong to the tag. A bare token, which sloppy clients
 * send, is taken for the tag it looks like; anything else is passed over, as a tag that matches nothing.
 *
 * @example parseEtagList('"a,b", W/"c", d') // a,b and d strong, c weak
 */
export function parseEtagList(header: string): Etag[] {
  const members = header.match(LIST_MEMBER) ?? [];
  return members.flatMap((member) => {
    const groups = ENTITY_TAG.exec(member.trim())?.groups;
    const tag = groups?.["quoted"] ?? groups?.["bare"];
    return tag === undefined ? [] : [{ weak: groups?.["weak"] !== undefined, tag }];
  });
}

/** What lies between commas, where a quote that is never closed runs to the end. */
const LIST_MEMBER = /(?:"[^"]*"?|[^",])+/g;
const ENTITY_TAG = /^(?<weak>W\/)?(?:"(?<quoted>[^"]*)"|(?<bare>[^"\s]+))$/;

/** `*` names whatever exists; otherwise one tag must compare equal (RFC 9110, section 8.8.3.2). */
function names(header: string, current: Validators, comparison: "strong" | "weak"): boolean {
  if (/^[ \t]*\*[ \t]*$/.test(header)) return true;
  return parseEtagList(header).some(({ weak, tag }) => tag === current.etag && (comparison === "weak" || !weak));
}

/** Whether the object changed after the date in the header; null when there is no date to tell by. */
function changedSince(header: string | null, current: Validators): boolean | null {
  // A client echoes a Last-Modified of ours, so the object's own date tells the century of a two-digit year.
  const date = header === null ? null : parseHttpDate(header, current.lastModified);
  return date === null ? null : wholeSeconds(current.lastModified) > date;
}

function wholeSeconds(epochMs: number): number {
  return Math.floor(epochMs / 1000) * 1000;
}
