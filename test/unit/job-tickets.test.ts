import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatTicket, parseTicket, TICKET_MAX_LENGTH } from "../../workers/core/jobs/ticket.ts";

const KEY = [0x1234_5678, -5, 77, 0x7fff_ffff];
const ticket = fc.record({
  node: fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,62}$/),
  grant: fc.nat(1_000_000_000),
  epoch: fc.nat(1_000_000),
  position: fc.nat(1_000_000),
  attempt: fc.nat(1_000_000),
});

describe("a lease's ticket", () => {
  test("says what it was made of, in few characters", () => {
    const property = fc.property(ticket, (made) => {
      const text = formatTicket(made, KEY);
      expect(parseTicket(text, KEY)).toEqual(made);
      expect(text.length).toBeLessThanOrEqual(TICKET_MAX_LENGTH);
    });
    fc.assert(property);
  });

  test("is none when any of it is altered, left out or added", () => {
    const property = fc.property(ticket, fc.nat(), fc.constantFrom(..."0123456789abz.-"), (made, at, char) => {
      const text = formatTicket(made, KEY);
      const index = at % text.length;
      const altered = text.slice(0, index) + char + text.slice(index + 1);
      if (altered !== text) expect(parseTicket(altered, KEY)).toBeNull();
      expect(parseTicket(text.slice(0, index), KEY)).toBeNull();
      expect(parseTicket(text + char, KEY)).toBeNull();
    });
    fc.assert(property);
  });

  test("is none of another job's", () => {
    const text = formatTicket({ node: "node-0", grant: 17, epoch: 0, position: 4711, attempt: 1 }, KEY);
    for (const word of KEY.keys()) {
      const other = KEY.map((each, index) => (index === word ? each + 1 : each));
      expect(parseTicket(text, other)).toBeNull();
    }
  });

  test.each(["", ".", "node-0", "node-0.1.2.3.4", "node-0.1.2.3.4.", "node-0.01.2.3.4.x", "NODE.1.2.3.4.x", "\0"])(
    "is not %j",
    (text) => {
      expect(parseTicket(text, KEY)).toBeNull();
    },
  );
});
