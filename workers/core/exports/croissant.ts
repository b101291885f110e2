import { formatDataUrl } from "../http/key-path.ts";
import type { StoredRow } from "../manifest/row.ts";
import { kindByName } from "../records/kind.ts";
import type { Kind } from "../records/record.ts";

/**
 * MLCommons Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html), as mlcroissant 1.1 reads it,
 * which is narrower: a FileObject must have one of MD5 and SHA-256, and what is a FileSet of plain files has no columns.
 * So there is a record set for each file.
 */
export const CROISSANT = "http://mlcommons.org/croissant/1.1";
export const CROISSANT_TYPE = `application/ld+json; profile="${CROISSANT}"`;

/** Appendix 1 of the specification, with `https` for schema.org and language maps, as mlcroissant has it. */
export const CONTEXT = {
  "@language": "en",
  "@vocab": "https://schema.org/",
  sc: "https://schema.org/",
  cr: "http://mlcommons.org/croissant/",
  rai: "http://mlcommons.org/croissant/RAI/",
  dct: "http://purl.org/dc/terms/",
  annotation: "cr:annotation",
  arrayShape: "cr:arrayShape",
  citeAs: "cr:citeAs",
  column: "cr:column",
  conformsTo: "dct:conformsTo",
  containedIn: "cr:containedIn",
  data: { "@id": "cr:data", "@type": "@json" },
  dataType: { "@id": "cr:dataType", "@type": "@vocab" },
  description: { "@container": "@language" },
  equivalentProperty: "cr:equivalentProperty",
  examples: { "@id": "cr:examples", "@type": "@json" },
  excludes: "cr:excludes",
  extract: "cr:extract",
  field: "cr:field",
  fileProperty: "cr:fileProperty",
  fileObject: "cr:fileObject",
  fileSet: "cr:fileSet",
  format: "cr:format",
  includes: "cr:includes",
  isArray: "cr:isArray",
  isLiveDataset: "cr:isLiveDataset",
  jsonPath: "cr:jsonPath",
  key: "cr:key",
  md5: "cr:md5",
  name: { "@container": "@language" },
  parentField: "cr:parentField",
  path: "cr:path",
  recordSet: "cr:recordSet",
  references: "cr:references",
  regex: "cr:regex",
  readLines: "cr:readLines",
  repeated: "cr:repeated",
  replace: "cr:replace",
  samplingRate: "cr:samplingRate",
  sdVersion: "cr:sdVersion",
  separator: "cr:separator",
  source: "cr:source",
  subField: "cr:subField",
  transform: "cr:transform",
  unArchive: "cr:unArchive",
  value: "cr:value",
} as const;

/** What of an object a FileObject is made of. */
export type CroissantFile = Pick<StoredRow, "key" | "size" | "md5" | "sha256" | "contentType" | "contentEncoding">;

/** Why an object cannot be a FileObject; null where it can. */
export function whyNoFile({ md5, sha256, contentEncoding }: CroissantFile): "unsummed" | "encoded" | null {
  // HTTP clients decode what is encoded, so that the checksum of what is stored is not that of what they get.
  if (contentEncoding !== null && contentEncoding !== "identity") return "encoded";
  return md5 === null && sha256 === null ? "unsummed" : null;
}

/** Ids are relative IRIs: they have the form of a URL's path, in which no parser rewrites anything. */
export const idOf = (folder: "files" | "records", key: string): string => formatDataUrl(folder, key);

export function formatFileObject(file: CroissantFile, contentUrl: string): string {
  // mlcroissant takes one of the two, and not both.
  const sum = file.sha256 === null ? { md5: file.md5 } : { sha256: file.sha256 };
  return JSON.stringify({
    "@type": "cr:FileObject",
    "@id": idOf("files", file.key),
    name: file.key,
    contentUrl,
    contentSize: `${file.size} B`,
    encodingFormat: encodingFormat(file),
    ...sum,
  });
}

/** By suffix first: what puts objects knows their types seldom. The names are those that mlcroissant reads. */
const FORMATS: readonly (readonly [RegExp, string | readonly string[]])[] = [
  [/\.json(?:\.gz)?$/i, "application/json"],
  [/\.parquet$/i, ["application/vnd.apache.parquet", "application/x-parquet"]],
  [/\.csv(?:\.gz)?$/i, "text/csv"],
  [/\.tsv(?:\.gz)?$/i, "text/tab-separated-values"],
];
const MEDIA_TYPE = /^[a-z0-9][a-z0-9!#$&^_.+-]*\/[a-z0-9][a-z0-9!#$&^_.+-]*$/;

export function encodingFormat({
  key,
  contentType,
}: Pick<CroissantFile, "key" | "contentType">): string | readonly string[] {
  if (kindByName(key, contentType ?? undefined) === "lines") return "application/jsonlines";
  const known = FORMATS.find(([suffix]) => suffix.test(key));
  if (known !== undefined) return known[1];
  const type = (contentType ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
  return MEDIA_TYPE.test(type) ? type : "application/octet-stream";
}

/** How records can be read of an object, as far as its name says: of "json", its first byte has the last word. */
export const recordsByName = ({ key, contentType }: Pick<CroissantFile, "key" | "contentType">): Kind | null => {
  const format = encodingFormat({ key, contentType });
  if (format === "application/jsonlines") return "lines";
  return format === "application/json" ? "array" : null;
};
