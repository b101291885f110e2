import { afterAll, beforeAll, expect, it } from "vitest";
import { createClient, followMigration, type Migration } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { fillSource, type Source, startLocalSource } from "../harness/local-source.ts";
import { startFreshInstance } from "./fresh-instance.ts";

let source: Source & { stop(): Promise<void> };
let instance: Instance;

beforeAll(async () => {
  source = await startLocalSource();
  await fillSource(source, [{ key: "c/0", bytes: new Uint8Array(10), contentType: "application/octet-stream" }]);
  instance = await startFreshInstance({ name: "e2e-job-events", sources: { local: source } });
  const admin = createClient(instance.url, instance.tokens.admin);
  await admin.call("PUT", "/v1/datasets/precip", {
    ...{ kind: "files", prefix: "precip/", source: { name: "local", prefix: "" } },
  });
  const started = await admin.call<Migration>("POST", "/v1/migrations", { dataset: "precip" });
  expect(await followMigration(admin, started.id)).toMatchObject({ state: "done" });
});

afterAll(async () => {
  await instance?.stop();
  await source?.stop();
});

interface Summary {
  state: string;
  loss: number | null;
}

it("a job is watched by a WebSocket and by server-sent events, with its own token, from its first heartbeat to its end", async () => {
  const submit = createClient(instance.url, instance.tokens.submit);
  const body = { name: "unet", dataset: "precip", input: { prefixes: ["c/"] } };
  const { id, token } = await submit.call<{ id: string; token: string }>("POST", "/v1/jobs", body);
  const node = createClient(instance.url, token);
  const url = `${instance.url}/v1/jobs/${id}/events`;
  const headers = { authorization: `Bearer ${token}` };
  const events = fetch(url, { headers }).then((response) => response.text());

  const socket = new WebSocket(url.replace(/^http/, "ws"), { headers });
  const told: Summary[] = [];
  const pong = Promise.withResolvers<void>();
  const ends = Promise.withResolvers<number>();
  const running = Promise.withResolvers<void>();
  socket.addEventListener("open", () => socket.send("ping"));
  socket.addEventListener("error", () => ends.reject(new Error("The WebSocket was not opened.")));
  socket.addEventListener("message", ({ data }) => {
    if (data === "pong") return pong.resolve();
    told.push(JSON.parse(String(data)) as Summary);
    if (told.at(-1)?.loss === 0.25) running.resolve();
  });
  socket.addEventListener("close", ({ code }) => ends.resolve(code));

  await pong.promise;
  await node.call("POST", `/v1/jobs/${id}/heartbeat`, { node: "node-0", loss: 0.5 });
  await node.call("POST", `/v1/jobs/${id}/heartbeat`, { node: "node-0", loss: 0.25 });
  // Told by the alarm, a second after the message before.
  await running.promise;
  await submit.call("POST", `/v1/jobs/${id}/cancel`);
  expect(await ends.promise).toBe(1000);
  expect(told[0]).toMatchObject({ state: "pending", loss: null });
  expect(told.at(-1)).toMatchObject({ state: "cancelled", loss: 0.25 });

  const said = await events;
  expect(said).toMatch(/^retry: 2000\n\nevent: status\ndata: \{.*"state":"pending"/);
  expect(said).toMatch(/event: end\nid: end\ndata: \{.*"state":"cancelled".*\}\n\n$/);
});
