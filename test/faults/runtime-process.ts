/**
 * The Worker in a process that can be killed: started by `runtime.ts`, in a process group of its own. It waits for its
 * options, a line of JSON on its standard input, and prints "ready" or what was wrong. It ends with its starter.
 */
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";

const lines = createInterface({ input: process.stdin });
lines.once("close", () => process.exit());
lines.once("line", (line) => {
  const { logFile, ...options } = JSON.parse(line) as { logFile: string };
  const logged = createWriteStream(logFile, { flags: "a" });
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      ...(options as Parameters<typeof convertV4MiniflareOptions>[0]),
      log: new Log(LogLevel.NONE),
      handleStructuredLogs: ({ message }) => void logged.write(`${message}\n`),
    }),
  );
  miniflare.ready.then(
    () => console.log("ready"),
    (error: unknown) => console.log(`not started: ${String(error)}`),
  );
});
