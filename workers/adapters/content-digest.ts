import { Digest } from "./exact-stream.ts";

/** Characters that are collected before they are hashed: each write costs more than its bytes. */
const AT_ONCE = 64 * 1024;

/**
 * What an input's bytes are, by the ETags of its objects in the order in which they are met: two inputs that are cut alike have
 * the same digest where the bytes are the same, whatever their version is called.
 */
export class ContentDigest {
  readonly #digest = new Digest("SHA-256");
  #text = "";

  async note(objects: Iterable<{ key: string; etag: string }>): Promise<void> {
    for (const { key, etag } of objects) {
      this.#text += `${key}\0${etag}\n`;
      if (this.#text.length > AT_ONCE) await this.#hash();
    }
  }

  /** Ends it: hex. */
  async finish(): Promise<string> {
    await this.#hash();
    await this.#digest.close();
    return (await this.#digest.bytes).toHex();
  }

  async #hash(): Promise<void> {
    const text = this.#text;
    this.#text = "";
    await this.#digest.write(new TextEncoder().encode(text));
  }
}
