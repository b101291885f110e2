import { UNIT_PARTS_MAX } from "../../limits.ts";
import type { Part, Unit } from "./unit.ts";

/**
 * Puts parts together into units, in their order: small ones until the next would exceed the target, a larger one alone.
 * What comes out depends on the parts and the target only.
 */
export class Cutter {
  readonly #targetBytes: number;
  #group = "";
  #parts: Part[] = [];
  #bytes = 0;

  constructor(targetBytes: number) {
    this.#targetBytes = targetBytes;
  }

  /**
   * Takes the next part; answers with the unit that it ends, if it ends one.
   *
   * @param group parts of different groups are never in one unit
   */
  push(part: Part, group: string): Unit | null {
    const isFull = this.#bytes + part.size > this.#targetBytes || this.#parts.length === UNIT_PARTS_MAX;
    const ended = isFull || group !== this.#group ? this.end() : null;
    this.#group = group;
    this.#parts.push(part);
    this.#bytes += part.size;
    return ended;
  }

  /** The last unit; null where nothing is left. */
  end(): Unit | null {
    if (this.#parts.length === 0) return null;
    const unit = { parts: this.#parts, bytes: this.#bytes };
    this.#parts = [];
    this.#bytes = 0;
    return unit;
  }
}
