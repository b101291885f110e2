/**
 * Ten thousand presigned URLs, as a node asks for them at the start of an epoch: beside aws4fetch, both in workerd, and
 * beside AWS's own presigner, both in Node. aws4fetch's signatures are compared first, for the same canonical query: a
 * faster wrong URL is worth nothing. AWS's has parameters of its own in each URL (`x-id`, a checksum mode), and so other
 * signatures: it is there for its speed alone.
 */
import { fileURLToPath } from "node:url";
import { type BenchOptions, comparedTimes, type Measurement } from "../measure.ts";
import { bundleEntry, quoted } from "../stage/bundle.ts";
import { optionsOf, startSimulator, temporaryFolder } from "../stage/simulator.ts";
import { installAwsPresigner } from "./aws-presigner.ts";
import { HOST, type Order, signOurs } from "./presign-orders.ts";

const WORKER = fileURLToPath(new URL("./presign-worker.ts", import.meta.url));
const URLS = 10_000;
const COMPARED = 100;
const ROUNDS = 9;
/** Times aws4fetch's rate that ours is to be. */
const TIMES_AWS4FETCH = 5;
const PEERS = ["aws4fetch", "aws-sdk"];

const METHODS: Readonly<Record<Order["method"], string>> = {
  GET: "presign-10k GET",
  PUT: "presign-10k PUT, signed headers",
};

export async function* benchPresign({ rounds, peers = [], scale = 1 }: BenchOptions): AsyncGenerator<Measurement> {
  const unknown = peers.filter((name) => !PEERS.includes(name));
  if (unknown.length > 0) throw new Error(`No peer is called ${unknown.join(", ")}; there are ${PEERS.join(", ")}`);
  const isAsked = (peer: string) => peers.length === 0 || peers.includes(peer);
  const count = Math.max(COMPARED, Math.round(URLS * scale));
  if (isAsked("aws4fetch")) yield* besideAws4fetch(count, rounds ?? ROUNDS);
  if (isAsked("aws-sdk")) yield* besideAwsSdk(count, rounds ?? ROUNDS);
}

async function* besideAws4fetch(count: number, rounds: number): AsyncGenerator<Measurement> {
  const { ask, stop } = await startSigners();
  try {
    for (const [method, name] of Object.entries(METHODS) as [Order["method"], string][]) {
      const some = { method, count: COMPARED, shown: COMPARED };
      expectSameSignatures(await ask({ ...some, signer: "penstock" }), await ask({ ...some, signer: "aws4fetch" }));
      const all = { method, count, shown: 0 };
      const row = await comparedTimes(
        {
          ...{ suite: "jobs", case: name, peer: "aws4fetch" },
          ours: () => ask({ ...all, signer: "penstock" }),
          theirs: () => ask({ ...all, signer: "aws4fetch" }),
        },
        rounds,
      );
      const missed = row.ratio < TIMES_AWS4FETCH ? `missed: less than ${TIMES_AWS4FETCH} times the rate; ` : "";
      yield { ...row, note: `${missed}both in workerd, with the request that asked` };
    }
  } finally {
    await stop();
  }
}

async function* besideAwsSdk(count: number, rounds: number): AsyncGenerator<Measurement> {
  const signTheirs = await installAwsPresigner();
  for (const [method, name] of Object.entries(METHODS) as [Order["method"], string][]) {
    const order = { method, count };
    const row = await comparedTimes(
      {
        ...{ suite: "jobs", case: name, peer: "aws-sdk" },
        ours: () => signOurs(order),
        theirs: () => signTheirs(order),
      },
      rounds,
    );
    yield { ...row, note: "both in Node; its URLs have parameters of their own, so signatures are not compared" };
  }
}

async function startSigners() {
  const { folder, remove } = temporaryFolder();
  const text = `export { default } from ${quoted(WORKER)};\n`;
  const bundled = await bundleEntry({ name: "presign", text, vars: null }, folder);
  const unsafeDirectSockets = [{ host: "127.0.0.1", port: 0 }];
  const miniflare = startSimulator(folder, [{ ...optionsOf(bundled), name: "presign", unsafeDirectSockets }]);
  const stop = async () => {
    await miniflare.dispose();
    remove();
  };
  try {
    await miniflare.ready;
    const { href } = await miniflare.unsafeGetDirectURL("presign");
    const ask = async (order: Order): Promise<string[]> => {
      const answer = await fetch(href, { method: "POST", body: JSON.stringify(order) });
      if (!answer.ok) throw new Error(`Signing was answered ${answer.status}: ${await answer.text()}`);
      return (await answer.json()) as string[];
    };
    return { ask, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function expectSameSignatures(a: readonly string[], b: readonly string[]): void {
  const signature = (url: string) => new URL(url).searchParams.get("X-Amz-Signature");
  const different = a.findIndex((url, index) => signature(url) !== signature(b[index] ?? HOST));
  if (a.length !== COMPARED || different !== -1) {
    throw new Error(`The signatures differ:\n${a[different]}\n${b[different]}`);
  }
}
