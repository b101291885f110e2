/**
 * A plain reference for conditional requests (RFC 9110, section 13): lists are taken apart one character at a time, and
 * the verdict is read off section 13.2.2 step by step.
 */
import { referenceDate } from "./http-date.ts";

export interface Tag {
  weak: boolean;
  tag: string;
}

/** The fields of a request that section 13 knows; null where absent. */
export interface Conditions {
  method: string;
  ifMatch: string | null;
  ifNoneMatch: string | null;
  ifModifiedSince: string | null;
  ifUnmodifiedSince: string | null;
  ifRange: string | null;
}

export interface Current {
  etag: string;
  lastModified: number;
}

/** The tags of a list. A bare word is the tag that it looks like; what is neither is left out. */
export function referenceTags(field: string): Tag[] {
  const members: string[] = [""];
  let isQuoted = false;
  for (const char of field) {
    if (char === '"') isQuoted = !isQuoted;
    if (char === "," && !isQuoted) members.push("");
    else members.push((members.pop() ?? "") + char);
  }
  return members.map((member) => readTag(member.trim())).filter((tag) => tag !== null);
}

function readTag(member: string): Tag | null {
  const weak = member.startsWith("W/") && member.length > 2;
  const rest = weak ? member.slice(2) : member;
  if (rest.startsWith('"')) {
    const isWhole = rest.length >= 2 && rest.indexOf('"', 1) === rest.length - 1;
    return isWhole ? { weak, tag: rest.slice(1, -1) } : null;
  }
  const isWord = rest !== "" && [...rest].every((char) => char !== '"' && char.trim() !== "");
  return isWord ? { weak, tag: rest } : null;
}

/** Section 13.2.2, steps 1 to 4. */
export function referenceVerdict(
  request: Conditions,
  { etag, lastModified }: Current,
): "proceed" | "not-modified" | "precondition-failed" {
  const isAny = (field: string) => [...field].filter((char) => char !== " " && char !== "\t").join("") === "*";
  const second = lastModified - (lastModified % 1000);
  const dated = (field: string | null) => (field === null ? null : referenceDate(field, lastModified));
  const isRead = request.method === "GET" || request.method === "HEAD";

  // Step 1, and step 2 only where there is no If-Match.
  if (request.ifMatch !== null) {
    const isMet = isAny(request.ifMatch) || referenceTags(request.ifMatch).some((t) => !t.weak && t.tag === etag);
    if (!isMet) return "precondition-failed";
  } else {
    const date = dated(request.ifUnmodifiedSince);
    if (date !== null && second > date) return "precondition-failed";
  }
  // Step 3, and step 4 only where there is no If-None-Match.
  if (request.ifNoneMatch !== null) {
    const isMet = !isAny(request.ifNoneMatch) && referenceTags(request.ifNoneMatch).every((t) => t.tag !== etag);
    if (!isMet) return isRead ? "not-modified" : "precondition-failed";
  } else if (isRead) {
    const date = dated(request.ifModifiedSince);
    if (date !== null && second <= date) return "not-modified";
  }
  return "proceed";
}

/** Step 5: whether a Range beside this If-Range counts. */
export function referenceRangeApplies(ifRange: string | null, { etag, lastModified }: Current): boolean {
  if (ifRange === null) return true;
  const date = referenceDate(ifRange, lastModified);
  if (date !== null) return date === lastModified - (lastModified % 1000);
  const tags = referenceTags(ifRange);
  return tags.length === 1 && tags.every((t) => !t.weak && t.tag === etag);
}
