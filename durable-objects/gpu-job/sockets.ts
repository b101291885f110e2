import { failure } from "../../workers/core/failure.ts";
import { SOCKETS_MAX } from "../../workers/core/limits.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { JobStatus } from "./gpu-job.ts";
import { nextChangeAt, summaryOf } from "./summary.ts";

/** Milliseconds from one look at the job to the next, and so from message to message. */
const LOOK_MS = 1000;
/** RFC 6455, section 7.4.1. */
const NORMAL = 1000;
const POLICY = 1008;

/**
 * The WebSockets that watch a job. They hibernate: while nothing happens the object is not in memory, and what keeps a
 * connection ("ping") is answered without it. The object's alarm is their clock, so nothing here keeps it awake.
 *
 * The runtime does not say how much a socket has yet to send (2026-11), so a client that stops reading without leaving costs
 * memory: a message is at most some 30 KB, and sent only when something is new.
 *
 * What is kept in memory may be forgotten at any time: then the job counts as changed, and who watches is told once more.
 */
export class Sockets {
  readonly #ctx: DurableObjectState;
  readonly #status: () => JobStatus | null;
  #hasChanged = true;
  #lookedAt = 0;
  #sent = "";
  #changeAt: number | null = null;

  /** @param status how the job stands; null where there is none */
  constructor(ctx: DurableObjectState, status: () => JobStatus | null) {
    this.#ctx = ctx;
    this.#status = status;
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  /** Another who watches: is told at once how the job stands; of one that has ended, that and nothing more. */
  accept(now: number): Result<WebSocket> {
    const status = this.#status();
    if (status === null) return fail(failure("unknown-job"));
    if (this.#open.length >= SOCKETS_MAX) {
      const detail = `${SOCKETS_MAX} WebSockets watch the job; close one, or ask for the events without the header Upgrade.`;
      return fail(failure("too-many-watchers", detail));
    }
    const message = JSON.stringify(summaryOf(status));
    // The first one knows all there is; others who watch already are told of what changed in their own time.
    if (this.#open.length === 0) this.#looked(status, message, now);
    const { 0: theirs, 1: ours } = new WebSocketPair();
    this.#ctx.acceptWebSocket(ours);
    tell(ours, message, status.endedAt !== null);
    return ok(theirs);
  }

  /** Something of the job has changed, or may have. */
  note(): void {
    this.#hasChanged = true;
  }

  /** When `push` has something to do, milliseconds since 1970; null: nobody watches, or there is nothing new. */
  get nextDueAt(): number | null {
    if (!this.#hasChanged && this.#changeAt === null) return null;
    if (this.#open.length === 0) return null;
    return this.#hasChanged ? this.#lookedAt + LOOK_MS : this.#changeAt;
  }

  /** Tells all who watch how the job stands, if that has changed, and no second has gone by since the last look; an end at once. */
  push(now: number, hasEnded: boolean): void {
    const dueAt = this.nextDueAt;
    if (dueAt === null || (now < dueAt && !hasEnded)) return;
    // One that fails is a look too: the alarm tries it again a second later, and not without end.
    this.#lookedAt = now;
    const status = this.#status();
    if (status === null) return;
    const message = JSON.stringify(summaryOf(status));
    const isNews = message !== this.#sent;
    this.#looked(status, message, now);
    if (isNews || hasEnded) for (const socket of this.#open) tell(socket, message, hasEnded);
  }

  #looked(status: JobStatus, message: string, now: number): void {
    this.#hasChanged = false;
    this.#lookedAt = now;
    this.#changeAt = nextChangeAt(status, now);
    this.#sent = message;
  }

  /** What they send is not listened to, but for the "ping" that the runtime answers. */
  heard(socket: WebSocket): void {
    close(socket, POLICY, 'Nothing is read here but "ping".');
  }

  /** The closing handshake is only over when both have said so (RFC 6455, section 7.1.2). */
  closed(socket: WebSocket): void {
    close(socket, NORMAL, "");
  }

  get #open(): WebSocket[] {
    return this.#ctx.getWebSockets().filter(({ readyState }) => readyState === WebSocket.OPEN);
  }
}

function tell(socket: WebSocket, message: string, isLast: boolean): void {
  try {
    socket.send(message);
  } catch {
    // It has gone in the meantime, which the runtime tells in its own time.
  }
  if (isLast) close(socket, NORMAL, "The job has ended.");
}

function close(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // It is closed already.
  }
}
