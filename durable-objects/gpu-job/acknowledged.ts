import { failure } from "../../workers/core/failure.ts";
import { parseTicket, type Ticket } from "../../workers/core/jobs/ticket.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";

/**
 * The tickets that a node sends back, in their order. `unknown-lease` names the first that this job never gave, and
 * `not-your-lease` the first that is another node's.
 *
 * @param key what the checksums of the job's tickets hang on
 */
export function parseTickets(node: string, leases: readonly string[], key: readonly number[]): Result<Ticket[]> {
  const tickets: Ticket[] = [];
  for (const [index, lease] of leases.entries()) {
    const ticket = parseTicket(lease, key);
    const field = `acks.${index}.lease`;
    if (ticket === null) {
      const detail = `${field}: is no lease that this job gave; send it as it was answered, or leave it out.`;
      return fail(failure("unknown-lease", detail, { field }));
    }
    if (ticket.node !== node) {
      const detail = `${field}: is the lease of "${ticket.node}"; a node acknowledges its own.`;
      return fail(failure("not-your-lease", detail, { field }));
    }
    tickets.push(ticket);
  }
  return ok(tickets);
}
