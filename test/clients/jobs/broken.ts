/** A server whose answers break off: what the examples' client makes of them. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Checks } from "../../harness/checks.ts";
import { EXAMPLES, startNode } from "./node-process.ts";

const BODY = "all of it";

/** penstock_job.py: a transfer that is cut is tried again, and heartbeats go on, with a loss that JSON can say. */
export async function checkBrokenAnswers(checks: Checks, python: string): Promise<void> {
  let cuts = 0;
  const losses: unknown[] = [];
  const server = createServer((request, response) => {
    let sent = "";
    request.on("data", (chunk: Buffer) => (sent += chunk.toString()));
    request.on("end", () => {
      const isObject = request.url === "/object";
      if (!isObject) losses.push((JSON.parse(sent) as { loss: unknown }).loss);
      const body = isObject ? BODY : "{}";
      // The first answer of either kind promises more than it has.
      const isCut = isObject ? cuts++ === 0 : losses.length === 1;
      response.writeHead(200, { "content-length": body.length + (isCut ? 100 : 0) });
      response.write(body, () => (isCut ? response.destroy() : response.end()));
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const job = { id: "job_0", token: "none" };
    const node = startNode({ python, script: "broken_node.py", url, job, given: { examples: EXAMPLES, url } });
    checks.equal("a transfer that is cut is tried again", [await node.result, cuts], [{ body: BODY }, 2]);
    checks.that("heartbeats go on after an answer that is cut", losses.length > 1, losses.length);
    checks.that(
      "a loss that is no number is said as null",
      losses.every((loss) => loss === null),
      losses,
    );
  } finally {
    server.close();
  }
}
