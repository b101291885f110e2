/** A server whose answers break off: what the examples' client makes of them. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Checks } from "../../harness/checks.ts";
import { EXAMPLES, startNode } from "./node-process.ts";

const BODY = "all of it";

interface Beat {
  node: string;
  step?: unknown;
  loss?: unknown;
  metrics?: unknown;
}

/**
 * penstock_job.py: a transfer that is cut is tried again, and heartbeats go on, with what JSON can say, and by the node's name
 * alone where that is refused.
 */
export async function checkBrokenAnswers(checks: Checks, python: string): Promise<void> {
  let cuts = 0;
  const beats: Beat[] = [];
  const server = createServer((request, response) => {
    let sent = "";
    request.on("data", (chunk: Buffer) => (sent += chunk.toString()));
    request.on("end", () => {
      const isObject = request.url === "/object";
      const beat = isObject ? null : (JSON.parse(sent) as Beat);
      if (beat !== null) beats.push(beat);
      const body = isObject ? BODY : "{}";
      // The first answer of either kind promises more than it has.
      const isCut = isObject ? cuts++ === 0 : beats.length === 1;
      response.writeHead(beat?.step === "none" ? 400 : 200, { "content-length": body.length + (isCut ? 100 : 0) });
      response.write(body, () => (isCut ? response.destroy() : response.end()));
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const job = { id: "job_0", token: "none" };
    const node = startNode({ python, script: "broken_node.py", url, job, given: { examples: EXAMPLES, url } });
    checks.equal("a transfer that is cut is tried again", [await node.result, cuts], [{ body: BODY }, 2]);
    const said = beats.filter(({ step }) => step === 1);
    checks.that("heartbeats go on after an answer that is cut", said.length > 1, said.length);
    checks.that(
      "a loss that is no number is said as null",
      said.every(({ loss }) => loss === null),
      said,
    );
    checks.that(
      "a metric that is no number is left out",
      said.every(({ metrics }) => JSON.stringify(metrics) === '{"rate":0.5}'),
      said,
    );
    const refused = beats.findIndex(({ step }) => step === "none");
    checks.equal("a node is heard where what it says is refused", beats[refused + 1], { node: "node-0" });
  } finally {
    server.close();
  }
}
