import { connect, type Socket } from "node:net";
import { isContent, shiftOf } from "./content.ts";

/** One GET and what must come back. */
export interface DataRequest {
  readonly key: string;
  /** The Range header's value. */
  readonly range: string | null;
  readonly status: 200 | 206 | 404;
  /** Of the answer's body in the object, in bytes; null where there is no such object and any body will do. */
  readonly part: { readonly offset: number; readonly length: number } | null;
}

/** A request made ready to send, so that nothing but sending and reading is left to do while the clock runs. */
export interface Prepared {
  readonly head: Buffer;
  readonly request: DataRequest;
  readonly shift: number;
}

export const prepared = (request: DataRequest, root: string): Prepared => ({
  head: Buffer.from(
    `GET ${root}${request.key} HTTP/1.1\r\nHost: 127.0.0.1\r\n${request.range === null ? "" : `Range: ${request.range}\r\n`}\r\n`,
  ),
  request,
  shift: shiftOf(request.key),
});

/**
 * One keep-alive connection that speaks as much HTTP/1.1 as a benchmark needs: one request at a time, and answers with a
 * Content-Length. Whatever else comes is an error that ends the benchmark.
 */
export class Connection {
  readonly #socket: Socket;
  #asked: { prepared: Prepared; compare: boolean; done(): void; failed(error: Error): void } | null = null;
  /** The answer's head as far as it has come; null once it has been read. */
  #head: Buffer | null = null;
  #at = 0;
  #length = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk) => {
      try {
        this.#read(chunk);
      } catch (error) {
        this.#fail(error as Error);
      }
    });
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => this.#fail(new Error("The connection was closed before the answer had come.")));
  }

  static open(port: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new Connection(socket));
      });
    });
  }

  /** Sends a request and reads its answer; every byte is compared if `compare` says so. Returns the body's length. */
  async get(ready: Prepared, compare: boolean): Promise<number> {
    await new Promise<void>((done, failed) => {
      this.#asked = { prepared: ready, compare: compare && ready.request.part !== null, done, failed };
      this.#head = EMPTY;
      this.#socket.write(ready.head);
    });
    return this.#length;
  }

  close(): void {
    this.#socket.removeAllListeners("close");
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    if (this.#asked === null) throw new Error("Bytes came that nobody had asked for.");
    const body = this.#head === null ? chunk : this.#readHead(this.#head, chunk);
    if (body === null) return;
    const { prepared: ready, compare, done } = this.#asked;
    if (this.#at + body.length > this.#length) throw this.#wrong("more bytes than its Content-Length");
    const offset = ready.request.part?.offset ?? 0;
    if (compare && !isContent(body, ready.shift, offset + this.#at)) throw this.#wrong("wrong bytes");
    this.#at += body.length;
    if (this.#at < this.#length) return;
    this.#asked = null;
    done();
  }

  /** The part of the chunk that belongs to the body; null while the head has not come whole. */
  #readHead(before: Buffer, chunk: Buffer): Buffer | null {
    const bytes = before.length === 0 ? chunk : Buffer.concat([before, chunk]);
    const end = bytes.indexOf("\r\n\r\n");
    if (end < 0) {
      this.#head = bytes;
      return null;
    }
    const head = bytes.toString("latin1", 0, end);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    const { request } = this.#asked?.prepared ?? {};
    if (Number(head.slice(9, 12)) !== request?.status) throw this.#wrong(`${head}\n\nwhere ${request?.status} was due`);
    if (length === undefined) throw this.#wrong(`no Content-Length:\n${head}`);
    if (request.part !== null && request.part.length !== Number(length)) {
      throw this.#wrong(`${length} bytes where ${request.part.length} were due`);
    }
    this.#head = null;
    this.#at = 0;
    this.#length = Number(length);
    return bytes.subarray(end + 4);
  }

  #wrong(what: string): Error {
    const { key, range } = this.#asked?.prepared.request ?? {};
    return new Error(`${key}${range === null ? "" : ` (${range})`} was answered with ${what}`);
  }

  #fail(error: Error): void {
    this.#asked?.failed(error);
    this.#asked = null;
    this.#socket.destroy();
  }
}

const EMPTY = Buffer.alloc(0);
