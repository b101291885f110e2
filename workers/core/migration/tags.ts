/** An object's tags. S3 allows 10, of at most 128 and 256 characters (Amazon S3 User Guide, "Categorizing your objects using tags"). */
export type Tags = Readonly<Record<string, string>>;

const TAGS_MAX = 10;
const KEY_MAX_CHARACTERS = 128;
const VALUE_MAX_CHARACTERS = 256;

/** The tags of these pairs; null where S3 would not have such tags, or there are none. */
export function tagsOf(pairs: readonly (readonly [key: string, value: string])[]): Tags | null {
  if (pairs.length === 0 || pairs.length > TAGS_MAX) return null;
  const isTag = ([key, value]: readonly [string, string]) =>
    isText(key, KEY_MAX_CHARACTERS) && key !== "" && isText(value, VALUE_MAX_CHARACTERS);
  return pairs.every(isTag) ? Object.fromEntries(pairs) : null;
}

const isText = (text: string, maxCharacters: number): boolean =>
  text.isWellFormed() && text.length <= 2 * maxCharacters && [...text].length <= maxCharacters;

/** As S3 takes them in `x-amz-tagging`: `key=value&key=value`, percent-encoded (Amazon S3 API Reference, PutObject). */
export const formatTags = (tags: Tags): string =>
  Object.entries(tags)
    .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`)
    .join("&");

/** Reads what `formatTags` wrote; null for anything else, for metadata can be written by whoever may put objects. */
export function parseTags(text: string): Tags | null {
  try {
    const pairs = text.split("&").map((pair): [string, string] => {
      const at = pair.indexOf("=");
      // Without "=" there is no key: that is no tag.
      return [decodeURIComponent(pair.slice(0, Math.max(0, at))), decodeURIComponent(pair.slice(at + 1))];
    });
    return tagsOf(pairs);
  } catch {
    return null;
  }
}
