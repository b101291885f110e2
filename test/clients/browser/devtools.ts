/** The Chrome DevTools Protocol over a pipe: JSON messages, each ended by a NUL. */
import type { Readable, Writable } from "node:stream";

const CALL_DEADLINE_MS = 300_000;

export type Params = Record<string, unknown>;
type Listener = (params: Params) => void;

export interface DevTools {
  /** Calls a method, of the browser, or of the page whose session is given. Throws what the browser refuses. */
  call<T = Params>(method: string, params?: Params, session?: string): Promise<T>;
  /** Hears every event of that name, of the browser, or of one session. */
  on(event: string, listener: Listener, session?: string): void;
}

interface Message {
  id?: number;
  result?: Params;
  error?: { message: string };
  method?: string;
  params?: Params;
  sessionId?: string;
}

export function connectDevTools(write: Writable, read: Readable): DevTools {
  const waiting = new Map<number, { resolve(result: Params): void; reject(error: Error): void }>();
  const listeners = new Map<string, Listener[]>();
  const address = (event: string, session = "") => `${session} ${event}`;
  let ended: Error | null = null;
  let calls = 0;

  const take = ({ id, result = {}, error, method = "", params = {}, sessionId }: Message) => {
    if (id === undefined) {
      for (const listener of listeners.get(address(method, sessionId)) ?? []) listener(params);
    } else if (error === undefined) waiting.get(id)?.resolve(result);
    else waiting.get(id)?.reject(new Error(error.message));
  };
  let begun = "";
  read.setEncoding("utf8");
  read.on("data", (text: string) => {
    const messages = (begun + text).split("\0");
    begun = messages.pop() ?? "";
    for (const message of messages) take(JSON.parse(message) as Message);
  });
  const end = () => {
    ended = new Error("The browser has ended.");
    for (const { reject } of waiting.values()) reject(ended);
  };
  read.once("close", end);
  // What is written to a browser that has ended is answered by `end`.
  write.on("error", () => undefined);

  return {
    async call<T>(method: string, params: Params = {}, session?: string) {
      if (ended !== null) throw ended;
      const id = ++calls;
      const { promise, resolve, reject } = Promise.withResolvers<Params>();
      waiting.set(id, { resolve, reject });
      const late = setTimeout(
        () => reject(new Error(`${method}: no answer in ${CALL_DEADLINE_MS} ms`)),
        CALL_DEADLINE_MS,
      );
      write.write(
        `${JSON.stringify({ id, method, params, ...(session === undefined ? {} : { sessionId: session }) })}\0`,
      );
      try {
        return (await promise) as T;
      } finally {
        clearTimeout(late);
        waiting.delete(id);
      }
    },
    on(event, listener, session) {
      const name = address(event, session);
      listeners.set(name, [...(listeners.get(name) ?? []), listener]);
    },
  };
}
