/**
 * Keys that a careless client loses, by the trap that loses them. An S3 key is any text of 1 to 1,024 bytes of UTF-8: no
 * path, no file name, no identifier.
 */

/** Names that mean something to URLs, shells, XML, file systems or JavaScript. */
const SPECIAL = "+=:#?%&'\"<>()*!~,;@$|\\`[]{}^ ";
const SPELT = [
  "a b+c=d:e#f?g%h&i'j\"k<l>(m)*n!o~p,q;r@s$t|u\\v`w[x]{y}^z",
  ...[...SPECIAL].flatMap((character) => [`char-${character}-x`, `end-${character}`]),
  " blank at both ends ",
  "  ",
  "no-break\u00a0space",
  "007",
  "1e3",
  "true",
  "null",
  "__proto__",
  "constructor",
  "index.html",
  "INDEX.html",
  ".hidden",
  "...",
  "percent-%2F-%00-%25-%zz-100%",
  "%2e%2e/escaped",
  "query?list-type=2&prefix=&versionId=null",
  "fragment#key",
  "entity-&#39;&amp;&lt;]]>",
  "<Key>xml</Key>",
  "n".repeat(255),
  "n".repeat(256),
  `${"s/".repeat(500)}long`,
];

const SLASHES = [
  "double//slash",
  "triple///slash",
  "/leading",
  "//leading-twice",
  "trailing/",
  "trailing-twice//",
  "/",
  "//",
  "marker/",
  "marker",
  "a-key",
  "a-key/and-a-folder",
];

const DOT_SEGMENTS = [
  "dot/./here",
  "dot/../there",
  "./first",
  "../above",
  "last/.",
  "last/..",
  "climb/../../../../../out",
  "both/..//./x",
];

/**
 * U+0001 to U+001F and U+007F, each alone; those of C1, and what is invisible or no character at all. The name in front
 * keeps their order where a server lists them as U+FFFD: a listing out of order is not believed.
 */
const CONTROL = [...range(0x01, 0x1f), 0x7f].map((code) => `control-${hex(code)}-${String.fromCharCode(code)}-`);
const INVISIBLE = [
  "cr-lf-\r\n-tab-\t",
  "c1-\u0085-\u009f-",
  "bom-\ufeff",
  "joined-\u200b\u200d",
  "right-to-left-\u202e",
  "line-\u2028-paragraph-\u2029",
  "replacement-\ufffd",
  "private-\ue000",
];
const NONCHARACTERS = ["nonchar-fffe-\ufffe", "nonchar-ffff-\uffff", "nonchar-1fffe-\u{1fffe}"];

const EMOJI = ["emoji-🙂", "👩‍👩‍👧‍👦/family", "flag-🇨🇭", "keycap-1️⃣", "wave-👋🏽", "smile-🙂/in-a-folder-🙃"];

/** Above U+FFFF UTF-16 sorts before U+E000, and UTF-8 after it; and `/` sorts among other characters. */
const ORDER = ["order-😀", "order-\uffee", "order-\ue000", "folder/x", "folder-x", "folder.x", "folder0", "folderx"];

/**
 * Keys that are not in Unicode NFC, in which R2 keeps them. They are at the source under these names for good, and look
 * both missing and extra to a tool that compares names.
 */
export const NFD_KEYS = [
  "nfd-e\u0301",
  "nfd-\u1112\u1161\u11ab\u1100\u1173\u11af", // Hangul, decomposed
  "nfd-\u212b-angstrom", // A singleton: U+212B is U+00C5
  "nfd-q\u0323\u0307-and-\u0307\u0323q", // Marks that NFC puts into another order
  "nfd-\u0958-excluded", // NFC decomposes it
  "nfd-\u0344/mark\u0301-in-folders/a\u030a",
  "nfd-\u{1d15e}-music", // Above U+FFFF; decomposed in NFC
].map((key) => `keys/${key}`);

/** In NFC, and easily taken for something that is not. */
const NFC = ["nfc-é", "nfc-ﬁ-ligature", "nfc-㎏", "nfc-각", "nfc-q\u0323\u0307"];

export const NASTY_KEYS = [
  ...SLASHES,
  ...DOT_SEGMENTS,
  ...SPELT,
  ...CONTROL,
  ...INVISIBLE,
  ...NONCHARACTERS,
  ...EMOJI,
  ...ORDER,
  ...NFC,
]
  .map((key) => `keys/${key}`)
  .concat(NFD_KEYS);

/** Of a whole bucket, where no prefix stands before the key, and a path that is resolved leads out of the bucket. */
export const ROOT_KEYS = [
  "/",
  "//",
  "/leading",
  "//leading-twice",
  "plain",
  "a//b",
  "trailing/",
  " ",
  "+",
  "%",
  "?",
  "#",
  "../above",
  "../../above",
  "./here",
  "a/..",
  "...",
  "😀",
  "\uffee",
  "e\u0301",
];

/** No URL leads to these: they are steps of a path. */
export const STEPS = [".", ".."];

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function hex(code: number): string {
  return code.toString(16).padStart(2, "0");
}
