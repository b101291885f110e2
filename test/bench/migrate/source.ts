import { randomFillSync } from "node:crypto";
import { AwsClient } from "aws4fetch";
import { forEachAtOnce } from "../../sources/fill.ts";
import { putMultipart, putObject } from "../../sources/put-multipart.ts";
import { type SourceServer, startVersityGw } from "../../sources/servers.ts";
import { childNamed } from "../stage/usage.ts";
import type { Corpus } from "./cases.ts";

const PUTS_AT_ONCE = 12;

/** One server by somebody else, which everyone copies from: versitygw, in a process of its own. */
export interface BenchSource extends SourceServer {
  readonly pid: number;
  /** Puts what is to be copied; returns the keys. */
  fill(corpus: Corpus): Promise<string[]>;
}

export async function startSource(): Promise<BenchSource> {
  const server = await startVersityGw();
  const client = new AwsClient({ ...server, service: "s3", retries: 2 });
  const urlOf = (key: string) => `${server.endpoint}/${server.bucket}/${key}`;
  return {
    ...server,
    pid: childNamed("versitygw"),
    async fill({ name, objects, bytes, partBytes }) {
      const pool = randomFillSync(new Uint8Array(bytes));
      const keys = Array.from({ length: objects }, (_, index) => keyOf(name, index));
      const numbered = keys.map((key, index) => ({ key, index }));
      await forEachAtOnce(numbered, partBytes === null ? PUTS_AT_ONCE : 1, async ({ key, index }) => {
        // No two objects are alike, nor any two parts of one.
        const body = partBytes === null ? pool.slice() : pool;
        if (bytes >= 4) new DataView(body.buffer).setUint32(0, index);
        await (partBytes === null
          ? putObject(client, urlOf(key), body)
          : putMultipart(client, urlOf(key), body, partBytes));
      });
      return keys;
    },
  };
}

/** As a Zarr array of one variable has its chunks, a thousand in a folder. */
const keyOf = (name: string, index: number): string =>
  `${name}/t2m/c/${String(Math.floor(index / 1000)).padStart(4, "0")}/${String(index % 1000).padStart(3, "0")}/0`;
