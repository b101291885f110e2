/** Tokens remembered at once, and their characters in all: some 8 MB, and as much again for what they say. */
const TOKENS_MAX = 10_000;
const CHARACTERS_MAX = 8 * 1024 * 1024;

export interface VerifiedTokensBounds {
  readonly tokens: number;
  readonly characters: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * What tokens say whose signature has been checked, by their whole text, signature included: a text that differs in one
 * character is another token. Bounded by number and by characters; the oldest is forgotten first. It is as good as the
 * keys it was filled under, so it belongs to them. Time is not its matter: whoever asks looks at `nbf` and `exp`.
 */
export class VerifiedTokens<C> {
  readonly #claims = new Map<string, C>();
  readonly #bounds: VerifiedTokensBounds;
  #characters = 0;

  constructor(bounds: VerifiedTokensBounds = { tokens: TOKENS_MAX, characters: CHARACTERS_MAX }) {
    this.#bounds = bounds;
  }

  get(token: string): C | undefined {
    return this.#claims.get(token);
  }

  remember(token: string, claims: C): void {
    if (this.#claims.has(token)) return;
    // A copy of its own: a text that was cut out of a URL keeps the whole URL in memory, and the bound would not hold.
    this.#claims.set(decoder.decode(encoder.encode(token)), claims);
    this.#characters += token.length;
    for (const oldest of this.#claims.keys()) {
      if (this.#claims.size <= this.#bounds.tokens && this.#characters <= this.#bounds.characters) break;
      this.forget(oldest);
    }
  }

  forget(token: string): void {
    if (this.#claims.delete(token)) this.#characters -= token.length;
  }

  get size(): { tokens: number; characters: number } {
    return { tokens: this.#claims.size, characters: this.#characters };
  }
}
