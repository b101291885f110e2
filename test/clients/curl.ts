/** curl on a signed URL of one large file. */
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Checks } from "../harness/checks.ts";

export interface CurlInput {
  url: string;
  bytes: Uint8Array;
  etag: string;
  /** Empty, to write into. */
  folder: string;
}

export async function checkCurl(checks: Checks, { url, bytes, etag, folder }: CurlInput): Promise<void> {
  const target = join(folder, "downloaded");
  const isWhole = () => Buffer.compare(readFileSync(target), bytes) === 0;

  const got = await curl(url, "-o", target);
  checks.that("GET is a 200 with every byte", got.status === 200 && isWhole(), got);
  checks.equal("GET tells the ETag", got.headers.get("etag"), `"${etag}"`);

  const head = await curl(url, "--head");
  checks.equal("HEAD is a 200 without a body", [head.status, head.downloaded], [200, 0]);
  const told = ["content-length", "accept-ranges", "etag"].map((name) => head.headers.get(name));
  checks.equal("HEAD tells length, ranges and ETag", told, [String(bytes.length), "bytes", `"${etag}"`]);

  for (const [range, start, end] of [
    ["1000-1999", 1000, 1999],
    ["-1000", bytes.length - 1000, bytes.length - 1],
    [`${bytes.length - 7}-`, bytes.length - 7, bytes.length - 1],
  ] as const) {
    const part = await curl(url, "--range", range, "-o", target);
    const same = Buffer.compare(readFileSync(target), bytes.subarray(start, end + 1)) === 0;
    checks.that(`Range: bytes=${range} is a 206 with those bytes`, part.status === 206 && same, part);
    checks.equal(
      `Range: bytes=${range} tells which bytes they are`,
      part.headers.get("content-range"),
      `bytes ${start}-${end}/${bytes.length}`,
    );
  }
  const beyond = await curl(url, "--range", `${bytes.length}-`);
  checks.equal(
    "a range past the end is a 416 that tells the size",
    [beyond.status, beyond.headers.get("content-range")],
    [416, `bytes */${bytes.length}`],
  );

  const known = await curl(url, "--header", `If-None-Match: "${etag}"`);
  checks.equal("If-None-Match with the ETag is a 304 without a body", [known.status, known.downloaded], [304, 0]);
  const other = await curl(url, "--header", 'If-None-Match: "another"', "-o", target);
  checks.that("If-None-Match with another ETag is a 200 with every byte", other.status === 200 && isWhole(), other);

  const begun = 3_000_000;
  writeFileSync(target, bytes.subarray(0, begun));
  const resumed = await curl(url, "--continue-at", "-", "-o", target);
  checks.that("-C - resumes a download that was cut short", resumed.exit === 0 && isWhole(), resumed);
  checks.equal("-C - asks only for the rest", [resumed.status, resumed.downloaded], [206, bytes.length - begun]);
  const again = await curl(url, "--continue-at", "-", "-o", target);
  checks.that("-C - leaves a whole download alone", again.exit === 0 && isWhole(), again);

  // As WebDataset reads its shards.
  const shard = await curl(url, "-f", "-s", "-L", "--retry", "3", "-o", target);
  checks.that("-f -s -L --retry reads it as a WebDataset shard", shard.exit === 0 && isWhole(), shard);
  const missing = await curl(`${url}.nothing`, "-f");
  checks.equal("a missing key is a 404, and -f says so", [missing.status, missing.exit], [404, 22]);
  const forged = await curl(url.replace(/\/t\/[^/]+/, "/t/forged"));
  checks.that("a forged capability is a 401 or 403", forged.status === 401 || forged.status === 403, forged);
}

interface CurlAnswer {
  exit: number;
  status: number;
  downloaded: number;
  headers: Map<string, string>;
}

const TOLD = "\n%{http_code} %{size_download}\n%{header_json}";

async function curl(url: string, ...args: string[]): Promise<CurlAnswer> {
  const quiet = ["--silent", "--noproxy", "*", "--max-time", "60", "--write-out", `%{stderr}${TOLD}`];
  const { exit, stderr } = await promisify(execFile)("curl", [...quiet, ...args, url], { encoding: "buffer" }).then(
    ({ stderr: text }) => ({ exit: 0, stderr: text.toString() }),
    (error: Error & { code?: number | string; stderr?: Buffer }) => {
      if (error.code === "ENOENT") throw new Error('There is no "curl" on the PATH. Install it.', { cause: error });
      return { exit: Number(error.code), stderr: error.stderr?.toString() ?? "" };
    },
  );
  const [, status = "0", downloaded = "0", json = "{}"] = /(?:^|\n)(\d{3}) (\d+)\n(\{.*\})\s*$/s.exec(stderr) ?? [];
  const headers = Object.entries(JSON.parse(json) as Record<string, string[]>);
  return {
    exit,
    status: Number(status),
    downloaded: Number(downloaded),
    headers: new Map(headers.map(([name, values]) => [name, values.join(", ")])),
  };
}
