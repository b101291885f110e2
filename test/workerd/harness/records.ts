import { env } from "cloudflare:workers";
import type { BrokenRecord } from "../../../workers/core/records/record.ts";
import { READER, request } from "./api.ts";

/** The last line of an answer of records. */
export interface EndLine {
  end: boolean;
  failure?: { code: string; detail: string };
  records: number;
  offset: number;
  next: number | null;
  total: number;
  etag: string;
  shard?: { index: number; of: number; first: number };
  skipped: number;
  broken: BrokenRecord[];
}

/** Asks for records of the dataset "texts"; `where` is what follows `/records`. */
export async function readRecords(seen: Env, where: string) {
  const response = await request(seen, `GET /v1/datasets/texts/records${where}`, undefined, READER);
  const text = new TextDecoder().decode(await response.arrayBuffer());
  const { status, headers } = response;
  if (status !== 200)
    return { status, headers, lines: [], end: null, problem: JSON.parse(text) as Record<string, unknown> };
  const lines = text.split("\n");
  if (lines.pop() !== "") throw new Error("The answer does not end with a line end.");
  return { status, headers, lines, end: JSON.parse(lines.pop() ?? "") as EndLine, problem: null };
}

/** Stores an object of the dataset "texts" and tells its ETag. */
export async function putText(
  key: string,
  body: string | Uint8Array,
  httpMetadata: R2HTTPMetadata = {},
): Promise<string> {
  const put = await env.DATASETS.put(`texts/${key}`, body, { httpMetadata });
  return put.etag;
}
