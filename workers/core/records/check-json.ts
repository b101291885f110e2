/**
 * Whether bytes are one JSON text in UTF-8: what `JSON.parse` takes (RFC 8259; a test holds them against each other). Nothing
 * is made of it: of a record of 16 MiB, `JSON.parse` may make values of more than an isolate's memory.
 */

import type { Problem } from "./record.ts";

const [QUOTE, BACKSLASH, COMMA, COLON, MINUS, PLUS, POINT] = [0x22, 0x5c, 0x2c, 0x3a, 0x2d, 0x2b, 0x2e];
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
const LITERALS = ["true", "false", "null"].map((text) => new TextEncoder().encode(text));

/** What is expected next. */
const VALUE = 0;
const VALUE_OR_END = 1;
const KEY = 2;
const KEY_OR_END = 3;
const COLON_NEXT = 4;
const AFTER_VALUE = 5;

const NOT_JSON = -1;
const NOT_UTF8 = -2;

/** Kept from one record to the next: which of the brackets that are open are objects. */
let nesting = new Uint8Array(1024);

/** What is wrong with the record from `start` to before `end`; null where it is JSON. */
export function checkJson(bytes: Uint8Array, start: number, end: number): Problem | null {
  let state = VALUE;
  let depth = 0;
  let at = start;
  for (;;) {
    while (at < end && isBlank(bytes[at])) at++;
    if (at >= end) return state === AFTER_VALUE && depth === 0 ? null : "not-json";
    const byte = bytes[at] ?? 0;
    if (state === AFTER_VALUE) {
      if (depth === 0) return "not-json";
      const isObject = nesting[depth - 1] === 1;
      if (byte === COMMA) state = isObject ? KEY : VALUE;
      else if (byte === (isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) depth--;
      else return "not-json";
      at++;
    } else if (state === COLON_NEXT) {
      if (byte !== COLON) return "not-json";
      state = VALUE;
      at++;
    } else if ((state === KEY_OR_END && byte === CLOSE_OBJECT) || (state === VALUE_OR_END && byte === CLOSE_ARRAY)) {
      depth--;
      state = AFTER_VALUE;
      at++;
    } else if (byte === QUOTE) {
      at = endOfString(bytes, at + 1, end);
      if (at < 0) return at === NOT_UTF8 ? "not-utf8" : "not-json";
      state = state === KEY || state === KEY_OR_END ? COLON_NEXT : AFTER_VALUE;
    } else if (state === KEY || state === KEY_OR_END) return "not-json";
    else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      if (depth === nesting.length) nesting = grown(nesting);
      nesting[depth++] = byte === OPEN_OBJECT ? 1 : 0;
      state = byte === OPEN_OBJECT ? KEY_OR_END : VALUE_OR_END;
      at++;
    } else {
      at = byte === MINUS || isDigit(byte) ? endOfNumber(bytes, at, end) : endOfLiteral(bytes, at, end);
      if (at < 0) return "not-json";
      state = AFTER_VALUE;
    }
  }
}

const isBlank = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;
const isHex = (byte: number | undefined): boolean =>
  byte !== undefined && (isDigit(byte) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66));

function grown(small: Uint8Array): Uint8Array<ArrayBuffer> {
  const large = new Uint8Array(small.length * 2);
  large.set(small);
  return large;
}

/** Where the string that goes on at `at` is over, or why it is none. */
function endOfString(bytes: Uint8Array, at: number, end: number): number {
  while (at < end) {
    const byte = bytes[at] ?? 0;
    if (byte > BACKSLASH && byte < 0x80)
      at++; // most of a text
    else if (byte === QUOTE) return at + 1;
    else if (byte === BACKSLASH) {
      const length = escapeLength(bytes, at, end);
      if (length === 0) return NOT_JSON;
      at += length;
    } else if (byte < 0x20) return NOT_JSON;
    else if (byte < 0x80) at++;
    else {
      const length = characterLength(byte, bytes, at, end);
      if (length === 0) return NOT_UTF8;
      at += length;
    }
  }
  return NOT_JSON;
}

/** Bytes of the escape at `at`; 0: it is none. */
function escapeLength(bytes: Uint8Array, at: number, end: number): number {
  if (at + 1 >= end) return 0;
  switch (bytes[at + 1]) {
    case QUOTE:
    case BACKSLASH:
    case 0x2f: // slash
    case 0x62: // b
    case 0x66: // f
    case 0x6e: // n
    case 0x72: // r
    case 0x74: // t
      return 2;
    case 0x75: // u
      if (at + 6 > end) return 0;
      for (let digit = at + 2; digit < at + 6; digit++) if (!isHex(bytes[digit])) return 0;
      return 6;
    default:
      return 0;
  }
}

/** Bytes of the character that begins at `at` with `first`, above 0x7f; 0: it is none (Unicode, table 3-7). */
function characterLength(first: number, bytes: Uint8Array, at: number, end: number): number {
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > end) return 0;
  const second = bytes[at + 1] ?? 0;
  const least = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const most = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (let i = 2; i < length; i++) if (((bytes[at + i] ?? 0) & 0xc0) !== 0x80) return 0;
  return length;
}

function endOfNumber(bytes: Uint8Array, at: number, end: number): number {
  if (bytes[at] === MINUS) at++;
  const whole = endOfDigits(bytes, at, end);
  if (whole === at || (bytes[at] === 0x30 && whole > at + 1)) return NOT_JSON;
  at = whole;
  if (at < end && bytes[at] === POINT) {
    const fraction = endOfDigits(bytes, at + 1, end);
    if (fraction === at + 1) return NOT_JSON;
    at = fraction;
  }
  if (at < end && ((bytes[at] ?? 0) | 0x20) === 0x65) {
    const sign = at + 1 < end && (bytes[at + 1] === PLUS || bytes[at + 1] === MINUS) ? 1 : 0;
    const exponent = endOfDigits(bytes, at + 1 + sign, end);
    if (exponent === at + 1 + sign) return NOT_JSON;
    at = exponent;
  }
  return at;
}

function endOfDigits(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && isDigit(bytes[at])) at++;
  return at;
}

function endOfLiteral(bytes: Uint8Array, at: number, end: number): number {
  const literal = LITERALS.find((known) => known[0] === bytes[at]);
  if (literal === undefined || at + literal.length > end) return NOT_JSON;
  return literal.every((byte, i) => bytes[at + i] === byte) ? at + literal.length : NOT_JSON;
}
