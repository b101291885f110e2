import type { Result } from "../core/result.ts";
import { Memo } from "./memo.ts";
import { within } from "./within.ts";

/** Milliseconds that a request waits for who is silent when it has an answer to fall back on, and when it has none. */
const PATIENCE_MS = 2000;
const FIRST_PATIENCE_MS = 10_000;

export interface AnswersOptions {
  /** Milliseconds after which a question is asked again. */
  askMs: number;
  /** Milliseconds for which an answer holds when it cannot be asked again. */
  holdMs: number;
  /** Answers that are remembered. */
  max: number;
}

interface Question<T> {
  readonly askedAt: number;
  /** Null: the question could not be asked. A value, of no request in particular, so that any request may wait for it. */
  readonly answer: Promise<Result<T> | null>;
}

/**
 * What Durable Objects have told this isolate, by name. Each is asked once in `askMs`, or twice, however many requests want
 * to know; an answer is as old as its question. While one cannot be asked (it is reset by every deployment), its last
 * answer holds for `holdMs`. Refusals are passed on, and not remembered.
 */
export class Answers<T> {
  readonly #options: AnswersOptions;
  readonly #answers: Memo<T>;
  readonly #questions = new Map<string, Question<T>>();

  constructor(options: AnswersOptions) {
    this.#options = options;
    this.#answers = new Memo(options.max);
  }

  /** The answer, if it need not be asked for as yet. */
  recall(name: string, now: number): T | null {
    return this.#answers.get(name, now, this.#options.askMs / 2);
  }

  /** The last answer, however old. */
  last(name: string): T | null {
    return this.#answers.peek(name);
  }

  /**
   * The answer; null where there is none that holds. `waitUntil` is the request's: the question then outlives the client
   * that caused it, and others get its answer.
   */
  async get(
    name: string,
    now: number,
    ask: () => Promise<Result<T>>,
    waitUntil: (work: Promise<unknown>) => void,
  ): Promise<Result<T> | null> {
    const fresh = this.#answers.get(name, now, this.#options.askMs);
    if (fresh !== null) {
      // It is asked again while it still holds: where reads are frequent, none waits for it.
      if (this.recall(name, now) === null) void this.#ask(name, now, ask, waitUntil);
      return { ok: true, value: fresh };
    }
    const held = this.#answers.get(name, now, this.#options.holdMs);
    const patienceMs = held === null ? FIRST_PATIENCE_MS : PATIENCE_MS;
    const answer = await within(patienceMs, this.#ask(name, now, ask, waitUntil));
    return answer ?? (held === null ? null : { ok: true, value: held });
  }

  /**
   * The question under way, or a new one. One that has been silent for a while is not joined any more: the runtime may
   * have ended the request that it belonged to, and with it the answer.
   */
  #ask(
    name: string,
    now: number,
    ask: () => Promise<Result<T>>,
    waitUntil: (work: Promise<unknown>) => void,
  ): Question<T>["answer"] {
    const pending = this.#questions.get(name);
    if (pending !== undefined && now - pending.askedAt < PATIENCE_MS) return pending.answer;
    const question: Question<T> = { askedAt: now, answer: this.#put(name, now, ask) };
    this.#questions.set(name, question);
    const oldest = this.#questions.size > this.#options.max ? this.#questions.keys().next().value : undefined;
    if (oldest !== undefined) this.#questions.delete(oldest);
    waitUntil(
      question.answer.finally(() => {
        if (this.#questions.get(name) === question) this.#questions.delete(name);
      }),
    );
    return question.answer;
  }

  async #put(name: string, now: number, ask: () => Promise<Result<T>>): Question<T>["answer"] {
    try {
      const answer = await ask();
      // A late answer does not replace the one to a later question: the age that it would have is below zero.
      if (answer.ok && this.#answers.get(name, now, 0) === null) this.#answers.set(name, answer.value, now);
      return answer;
    } catch {
      return null;
    }
  }
}
