/** Checks that are programs of their own: a line each as it is made, and `N passed, M failed` at the end. */
export interface Checks {
  /** `sentence` is what must hold; `found` is printed where it does not. */
  that(sentence: string, holds: boolean, found?: unknown): void;
  /** As `that`, for values that are equal as JSON. */
  equal(sentence: string, actual: unknown, expected: unknown): void;
  /** Something worth knowing that is no check. */
  note(text: string): void;
  /** Checks under a heading. What they throw is one more failed check, and the next section still runs. */
  section(title: string, work: () => Promise<void>): Promise<void>;
  /** Prints the last line and sets the exit code; a run without a single check has failed. */
  end(): void;
}

const SHOWN_CHARACTERS = 1_000;

export function createChecks(): Checks {
  let passed = 0;
  let failed = 0;

  const that: Checks["that"] = (sentence, holds, found) => {
    if (holds) passed++;
    else failed++;
    console.log(`  ${holds ? "ok  " : "FAIL"} ${sentence}`);
    if (!holds && found !== undefined) console.log(`       ${shown(found)}`);
  };

  return {
    that,
    equal(sentence, actual, expected) {
      const same = JSON.stringify(actual) === JSON.stringify(expected);
      that(sentence, same, `found ${shown(actual)}\n       expected ${shown(expected)}`);
    },
    note(text) {
      console.log(`       ${text}`);
    },
    async section(title, work) {
      console.log(title);
      const begun = performance.now();
      try {
        await work();
      } catch (error) {
        that(`${title}: runs to its end`, false, error instanceof Error ? error.stack : error);
      }
      console.log(`       ${((performance.now() - begun) / 1000).toFixed(1)} s`);
    },
    end() {
      console.log(`${passed} passed, ${failed} failed`);
      process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
    },
  };
}

function shown(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}
