/**
 * Consolidated metadata: one document that says what every node of a Zarr hierarchy is, so that plain HTTP, which cannot
 * list, opens it with one request. For format 2 it is `.zmetadata` beside the root's `.zgroup` (zarr-python's convention,
 * `zarr_consolidated_format` 1), for format 3 the member `consolidated_metadata` of the root's `zarr.json`, kind "inline".
 *
 * Documents go in as they are stored, byte for byte: a JSON parser would round fill values.
 */
const V2_DOCUMENTS: ReadonlySet<string> = new Set([".zgroup", ".zarray", ".zattrs"]);
const V3_DOCUMENT = "zarr.json";
const V2_CONSOLIDATED = ".zmetadata";

/** Whether a key is a document that says what a node is, or all of them. */
export const isNodeDocument = (key: string): boolean => {
  const name = nameOf(key);
  return V2_DOCUMENTS.has(name) || name === V3_DOCUMENT || name === V2_CONSOLIDATED;
};

/** A hierarchy: the folder of its root ("" or with a "/" at the end), and the documents of its nodes. */
export interface Hierarchy {
  root: string;
  format: 2 | 3;
  documents: string[];
}

/**
 * The hierarchies among these documents that have none consolidated as far as names tell; at most `limit` of each format.
 * One pass over the keys in order: what begins with a root follows it.
 */
export function hierarchiesOf(keys: readonly string[], limit: number): Hierarchy[] {
  const names = new Set(keys);
  const sorted = keys.toSorted();
  const v2 = walk(sorted, 2, ".zgroup", limit).filter(({ root }) => !names.has(root + V2_CONSOLIDATED));
  return [...v2, ...walk(sorted, 3, V3_DOCUMENT, limit)];
}

function walk(sorted: readonly string[], format: 2 | 3, marker: string, limit: number): Hierarchy[] {
  const isPart = (name: string) => (format === 2 ? V2_DOCUMENTS.has(name) : name === V3_DOCUMENT);
  const roots: string[] = [];
  // A folder comes before what is in it.
  for (const folder of sorted
    .filter((key) => nameOf(key) === marker)
    .map(folderOf)
    .toSorted()) {
    const last = roots.at(-1);
    if (last === undefined || !folder.startsWith(last)) roots.push(folder);
  }
  const found: Hierarchy[] = [];
  let at = 0;
  for (const root of roots.slice(0, limit)) {
    while (at < sorted.length && (sorted[at] ?? "") < root) at++;
    const documents: string[] = [];
    for (; sorted[at]?.startsWith(root) === true; at++) {
      const key = sorted[at] ?? "";
      if (isPart(nameOf(key))) documents.push(key);
    }
    found.push({ root, format, documents });
  }
  return found;
}

/**
 * The consolidated document of a hierarchy and the key that it is served under; null where it has one already, or is a lone
 * array, which needs none.
 *
 * @param texts the documents by key; each is one JSON object
 * @throws SyntaxError for a document that is no JSON object
 */
export function consolidate(
  { root, format }: Hierarchy,
  texts: ReadonlyMap<string, string>,
): { key: string; text: string } | null {
  const members = [...texts].map(([key, text]) => [key.slice(root.length), objectText(text, key)] as const);
  if (format === 2) {
    const metadata = members.map(([path, text]) => `${JSON.stringify(path)}:${text}`);
    const text = `{"zarr_consolidated_format":1,"metadata":{${metadata.join(",")}}}`;
    return { key: root + V2_CONSOLIDATED, text };
  }
  const own = members.find(([path]) => path === V3_DOCUMENT)?.[1];
  if (own === undefined) return null;
  const parsed = JSON.parse(own) as Record<string, unknown>;
  // A member that is there, also as null, would be there twice.
  if (parsed["node_type"] !== "group" || "consolidated_metadata" in parsed) return null;
  const metadata = members
    .filter(([path]) => path !== V3_DOCUMENT)
    .map(([path, text]) => `${JSON.stringify(path.slice(0, -V3_DOCUMENT.length - 1))}:${text}`);
  const consolidated = `{"kind":"inline","must_understand":false,"metadata":{${metadata.join(",")}}}`;
  return { key: root + V3_DOCUMENT, text: `${own.slice(0, -1)},"consolidated_metadata":${consolidated}}` };
}

/** The text of one JSON object, without what stands around it. */
function objectText(text: string, key: string): string {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed))
    throw new SyntaxError(`"${key}" is no JSON object.`);
  return text.trim();
}

const nameOf = (key: string): string => key.slice(key.lastIndexOf("/") + 1);
const folderOf = (key: string): string => key.slice(0, key.lastIndexOf("/") + 1);
