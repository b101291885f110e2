import { RECORD_MAX_BYTES } from "../limits.ts";

/** The bytes of a record that has begun in one chunk and goes on in the next. Of one that is too long only its length is kept. */
export class Held {
  #parts: Uint8Array[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get isTooLong(): boolean {
    return this.#length > RECORD_MAX_BYTES;
  }

  add(part: Uint8Array): void {
    if (part.length === 0) return;
    this.#length += part.length;
    // A copy: what a stream has given may be given again.
    if (this.isTooLong) this.#parts = [];
    else this.#parts.push(part.slice());
  }

  /** All of it in one piece; afterwards nothing is held. Empty where it is too long. */
  take(): Uint8Array {
    const parts = this.#parts;
    const bytes = new Uint8Array(this.isTooLong ? 0 : this.#length);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    this.#parts = [];
    this.#length = 0;
    return bytes;
  }
}
