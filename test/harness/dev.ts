/**
 * `npm run dev`: the Worker under wrangler dev, which reloads it when a file changes, beside a real S3 endpoint that
 * serves the demo's data. Nothing is to be prepared: secrets are generated once, into `.penstock/dev`, and R2, queues
 * and Durable Objects are the local simulator's. What was migrated stays there; the source is filled anew each time.
 */
import { cubes, records } from "../../examples/demo/data.ts";
import { startInstance } from "./instance.ts";
import { fillSource, startLocalSource } from "./local-source.ts";

const port = Number(process.env["PORT"] ?? 8787);
const source = await startLocalSource();
await fillSource(source, [...cubes(), ...records()]);
const instance = await startInstance({ name: "dev", port, sources: { demo: source }, verbose: true });

console.log(`
Penstock is at ${instance.url}; the source "demo" has ${cubes().length + records().length} objects.

  export PENSTOCK=${instance.url} TOKEN=${instance.tokens.admin}
  curl -s -X POST -H "Authorization: Bearer $TOKEN" $PENSTOCK/v1/sources/demo/check

End it with Ctrl-C. Delete .penstock/dev to begin with an empty R2 and new secrets.`);

let ending = false;
const end = async () => {
  if (ending) return;
  ending = true;
  await instance.stop();
  await source.stop();
};
process.once("SIGINT", () => void end());
process.once("SIGTERM", () => void end());
await instance.ended;
await end();
