/** A JSON object too long to be held: the text before and after the entries of one member, which come in between. */
export interface Around {
  before: string;
  after: string;
}

/**
 * @param head members before the long one, at least one; @param tail members after it
 * @param brackets of the long member: a list, or a map whose entries are `"name":value`
 */
export function formatAround(head: object, member: string, brackets: "[]" | "{}", tail: object): Around {
  const rest = JSON.stringify(tail).slice(1);
  return {
    before: `${JSON.stringify(head).slice(0, -1)},${JSON.stringify(member)}:${brackets[0]}`,
    after: `${brackets[1]}${rest === "}" ? "" : ","}${rest}\n`,
  };
}

/** Puts the comma before every entry but the first. */
export class Entries {
  #isFirst = true;

  format(entries: readonly string[]): string {
    if (entries.length === 0) return "";
    const text = `${this.#isFirst ? "" : ","}${entries.join(",")}`;
    this.#isFirst = false;
    return text;
  }
}
