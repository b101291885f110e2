/** A server whose answers break off: what the examples' client makes of them. */
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Checks } from "../../harness/checks.ts";
import { needPrograms, runProgram } from "../versions/program.ts";
import { EXAMPLES, startNode } from "./node-process.ts";

const BODY = "all of it";

interface Beat {
  node: string;
  step?: unknown;
  loss?: unknown;
  metrics?: unknown;
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Answers; one that is cut promises more than it has. */
function send(response: ServerResponse, body: string, { status = 200, isCut = false } = {}): void {
  response.writeHead(status, { "content-length": body.length + (isCut ? 100 : 0) });
  response.write(body, () => (isCut ? response.destroy() : response.end()));
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
      // The first answer of either kind.
      const isCut = isObject ? cuts++ === 0 : beats.length === 1;
      send(response, body, { status: beat?.step === "none" ? 400 : 200, isCut });
    });
  });
  const url = await listen(server);
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

/** node.sh: whatever is answered badly is asked again, each unit is done once, and a job that ends is no fault. */
export async function checkBrokenShell(checks: Checks): Promise<void> {
  await needPrograms("curl", "jq");
  const busy = { body: { code: "store-unavailable", state: null }, status: 503 };
  const finishing = { body: { code: "job-finishing" }, status: 409 };
  const ended = { body: { code: "job-ended" }, status: 409 };
  const part = (unit: number) => `part ${unit}\n`;
  /** "URL" is the server's, once it is there. */
  const lease = (unit: number) => {
    const parts = [{ key: `part-${unit}`, url: `URL/part-${unit}`, headers: {}, size: part(unit).length }];
    return { state: "granted", leases: [{ lease: `lease-${unit}`, unit, parts }] };
  };
  const done = (unit: number) => ({ body: { acks: [{ unit, outcome: "done" }] } });
  /** By route, in their order; the last one is given again. */
  const answers: Record<string, { body: unknown; status?: number; isCut?: boolean }[]> = {
    leases: [
      ...[busy, { body: lease(0) }, { body: lease(1), isCut: true }, { body: lease(1) }],
      ...[finishing, { body: lease(2) }, { body: { state: "done" } }],
    ],
    "part-0": [{ body: part(0) }],
    "part-1": [{ body: part(1), isCut: true }, busy, { body: part(1) }],
    "part-2": [{ body: part(2) }],
    acks: [busy, done(0), { ...done(1), isCut: true }, done(1), ended],
  };
  const asked: Record<string, string[]> = {};
  const server = createServer((request, response) => {
    let sent = "";
    request.on("data", (chunk: Buffer) => (sent += chunk.toString()));
    request.on("end", () => {
      const route = request.url?.split("/").at(-1) ?? "";
      const before = (asked[route] ??= []);
      const { body, ...how } = answers[route]?.[before.length] ?? answers[route]?.at(-1) ?? { body: {} };
      before.push(sent);
      send(response, typeof body === "string" ? body : JSON.stringify(body).replace("URL", url), how);
    });
  });
  const url = await listen(server);
  try {
    const env = { PENSTOCK_URL: url, PENSTOCK_JOB: "job_0", PENSTOCK_TOKEN: "none", PENSTOCK_NODE: "shell" };
    const ran = await runProgram("sh", [join(EXAMPLES, "node.sh"), "sh", "-c", 'cat "$1"/*', "unit"], { env });
    checks.equal("the shell node survives a 503 and answers that are cut, and ends with the job", ran.exit, 0);
    const out = "part 0\nunit 0: done\npart 1\nunit 1: done\npart 2\n";
    checks.equal("its command is given each unit once, whole", ran.out.toString(), out);
    const [leases = [], acks = []] = [asked["leases"], asked["acks"]];
    const again = [leases[1] === leases[0], leases[3] === leases[2], acks[1] === acks[0], acks[3] === acks[2]];
    checks.equal("what is asked again is the same request", again, [true, true, true, true]);
    checks.equal(
      "while the job finishes it waits, and asks for another lease",
      [leases.length, asked["part-1"]?.length],
      [6, 3],
    );
  } finally {
    server.close();
  }
}
