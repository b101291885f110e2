import { md5OfEtag, type Row, UNKNOWN_ORIGIN } from "../../workers/core/manifest/row.ts";

/** A row of which nobody has said more than this. The MD5 is the ETag's, where that is one. */
export function givenRow(key: string, said: Partial<Row> = {}): Row {
  const etag = said.etag ?? "e";
  return {
    ...{ key, size: 1, etag, uploadedAt: 1000, contentType: null, contentEncoding: null },
    ...{ md5: md5OfEtag(etag), sha256: null, crc64nvme: null },
    ...UNKNOWN_ORIGIN,
    writer: "mig_01",
    ...said,
  };
}

/** A row of what R2 said that it took. */
export function rowOfPut(
  key: string,
  put: { size: number; etag: string; uploaded: Date } | null,
  said: Partial<Row> = {},
): Row {
  if (put === null) throw new Error("R2 did not take it.");
  return givenRow(key, { size: put.size, etag: put.etag, uploadedAt: put.uploaded.getTime(), ...said });
}
