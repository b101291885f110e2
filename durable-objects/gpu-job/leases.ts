import { type Failure, failure } from "../../workers/core/failure.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import type { Ack, AckAnswer, AckOutcome, FailedUnit, LeaseAnswer, Progress } from "../../workers/core/jobs/lease.ts";
import { FAILURES_TOLD_MAX, type Resume } from "../../workers/core/jobs/resume.ts";
import { formatTicket, type Ticket } from "../../workers/core/jobs/ticket.ts";
import { NODE_UNITS_MAX } from "../../workers/core/limits.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { parseTickets } from "./acknowledged.ts";
import { Epochs, type Standing } from "./epochs.ts";
import { type Grant, Grants, takeOut } from "./grants.ts";
import { type Ending, Returned } from "./returned.ts";
import { type Asked, takeUnits, tooManyLeases, untakeUnit } from "./taking.ts";

/** Nodes that `units-out` names. */
const NODES_NAMED = 5;

const NOTHING_BEFORE: Resume = { epoch: 0, next: 0, open: [], givenUp: [], failures: [] };

/** What a node is credited with for what it has just acknowledged. */
export interface Credit {
  done: number;
  bytes: number;
  busyMs: number;
}

/**
 * The units of a job in its nodes' hands. The state is what is in flight (`grants.ts`), and exceptions: what came back
 * (`returned.ts`). All of it changes within the transactions of the job, of which one follows the other: there is no race to
 * lose.
 *
 * An attempt of a position has one ending. It is out from its grant until an acknowledgement, or time, takes it out of the
 * grant's row; whatever comes after that is told how it ended and changes nothing. So a unit is done once in an epoch, by
 * one accepted acknowledgement, or given up.
 */
export class Leases {
  readonly #specOf: () => JobSpec | null;
  readonly #grants: Grants;
  readonly #epochs: Epochs;
  readonly #returned: Returned;

  static readonly SCHEMA = [Grants.SCHEMA, Epochs.SCHEMA, Returned.SCHEMA].join(";");

  constructor(sql: SqlStorage, specOf: () => JobSpec | null) {
    this.#specOf = specOf;
    this.#grants = new Grants(sql);
    this.#epochs = new Epochs(sql);
    this.#returned = new Returned(sql);
  }

  /** Begins a job, at its beginning or where another was; does nothing the second time. `ticketKey`: words of chance. */
  begin(resume: Resume | null, ticketKey: readonly number[], now: number): void {
    const { epoch, next, open, givenUp, failures } = resume ?? NOTHING_BEFORE;
    if (!this.#epochs.begin(this.#spec, epoch, next, ticketKey, now)) return;
    this.#returned.takeOver(epoch, { open, givenUp, failures }, (position) => this.#unitAt(epoch, position));
    const at = this.#epochs.standing;
    at.waiting = open.length;
    at.givenUp = givenUp.length;
    this.#save(at, now);
  }

  /** Up to `count` units for a node that was heard just now; `too-many-leases` where it holds as many as it may. */
  lease(
    { node, request, count, epoch, isAlone }: Asked & { request: string; epoch: number | null },
    now: number,
  ): Result<LeaseAnswer> {
    const spec = this.#spec;
    const { epochs, leaseSeconds } = spec.units;
    if (epoch !== null && epoch >= epochs) {
      const detail = `epoch: the job has ${epochs}, counted from 0; ask for one of them, or leave it out.`;
      return fail(failure("invalid-body", detail, { field: "epoch" }));
    }
    const at = this.#epochs.standing;
    const nothing = (state: LeaseAnswer["state"], of: number) =>
      ok({ state, epoch: of, leases: [], expiresAt: null, progress: this.#epochs.progressOf(of, at, spec) });
    if (at.isOver) return nothing("done", epoch ?? at.epoch);
    if (epoch !== null && epoch < at.epoch) return nothing("epoch-done", epoch);
    if (epoch !== null && epoch > at.epoch) return nothing("wait", at.epoch);
    let grant = this.#grants.ofRequest(node, request);
    if (grant === null) {
      const room = NODE_UNITS_MAX - this.#grants.heldBy(node);
      if (room <= 0 && at.waiting + spec.unitList.count - at.next > 0) return fail(tooManyLeases(node));
      const held = takeUnits(at, this.#returned, spec, { node, isAlone, count: Math.min(count, room) }, now);
      if (held.length === 0) return nothing("wait", at.epoch);
      const expiresAt = Math.min(now + leaseSeconds * 1000, spec.expiresAt);
      const busySince = this.#grants.busySince(node) ?? now;
      grant = { seq: ++at.grants, node, expiresAt, busySince, answered: 1, held };
      this.#grants.add(grant, request, now + this.#silenceMs);
      this.#epochs.save(at);
    } else this.#grants.answerAgain(grant);
    const { seq, expiresAt, held } = grant;
    const leases = held.map(([position, attempt]) => ({
      lease: formatTicket({ node, grant: seq, epoch: at.epoch, position, attempt }, this.#epochs.ticketKey),
      unit: this.#unitAt(at.epoch, position),
      attempt,
    }));
    const progress = this.#epochs.progressOf(at.epoch, at, spec);
    return ok({ state: "granted", epoch: at.epoch, leases, expiresAt, progress });
  }

  /**
   * Settles what a node acknowledges. `unknown-lease` and `not-your-lease` name the first such ticket, and nothing is settled
   * then. What is acknowledged again is answered as it was, with another outcome too: it counts once.
   */
  ack(node: string, acks: readonly Ack[], now: number): Result<{ answer: AckAnswer; credit: Credit }> {
    const leases = acks.map(({ lease }) => lease);
    const tickets = parseTickets(node, leases, this.#epochs.ticketKey);
    if (!tickets.ok) return tickets;
    const at = this.#epochs.standing;
    const grants = new Map<number, Grant | null>();
    const changed = new Set<Grant>();
    const busySince = this.#grants.busySince(node) ?? now;
    const credit: Credit = { done: 0, bytes: 0, busyMs: 0 };
    const settled: AckAnswer["acks"] = [];
    for (const [index, ack] of acks.entries()) {
      const ticket = tickets.value[index];
      if (ticket === undefined) break;
      const grant = grants.get(ticket.grant) ?? this.#grants.numbered(ticket.grant);
      grants.set(ticket.grant, grant);
      const unit = this.#unitAt(ticket.epoch, ticket.position);
      if (grant === null || !takeOut(grant, ticket)) {
        settled.push({ lease: ack.lease, unit, outcome: this.#outcomeOf(at, ticket) });
        continue;
      }
      changed.add(grant);
      let outcome: AckOutcome = ack.outcome;
      if (ack.outcome === "done") {
        at.leased -= 1;
        credit.done += 1;
        credit.bytes += ack.bytes ?? 0;
      } else {
        const reason = ack.outcome === "failed" ? ack.reason : "";
        if (this.#comeBack(at, ticket, { ending: ack.outcome, node, reason }, now)) outcome = "given-up";
      }
      settled.push({ lease: ack.lease, unit, outcome });
    }
    if (credit.done > 0) credit.busyMs = now - busySince;
    for (const grant of changed) this.#grants.keep({ ...grant, busySince: now });
    if (changed.size > 0) {
      if ((this.#grants.busySince(node) ?? now) < now) this.#grants.restart(node, now);
      this.#save(at, now);
    }
    const epoch = tickets.value.reduce((latest, ticket) => Math.max(latest, ticket.epoch), 0);
    const state = at.isOver ? "done" : epoch < at.epoch ? "epoch-done" : "epoch-open";
    const progress = this.#epochs.progressOf(epoch, at, this.#spec);
    return ok({ answer: { acks: settled, epoch, state, progress }, credit });
  }

  /**
   * Takes leases back that nobody was told of, of one grant: it is as if they had not been given. Where the grant was answered
   * twice, the other answer may have told of them: then they are released, as the node might have.
   *
   * @returns the progress after that
   */
  giveBack(node: string, leases: readonly string[], now: number): Result<Progress> {
    const tickets = parseTickets(node, leases, this.#epochs.ticketKey);
    if (!tickets.ok) return tickets;
    const at = this.#epochs.standing;
    const [first] = tickets.value;
    const grant = first === undefined ? null : this.#grants.numbered(first.grant);
    // From the last position on, so that what was taken last off the end of the order goes back there.
    const back = tickets.value.toSorted((a, b) => b.position - a.position);
    for (const ticket of back) {
      if (grant === null || ticket.grant !== grant.seq || !takeOut(grant, ticket)) continue;
      if (grant.answered > 1) this.#comeBack(at, ticket, { ending: "released", node, reason: "" }, now);
      else untakeUnit(at, this.#returned, ticket);
    }
    if (grant !== null) this.#grants.keep(grant);
    this.#epochs.save(at);
    return ok(this.#epochs.progressOf(at.epoch, at, this.#spec));
  }

  /** Lets time pass: what ran out, or is in the hands of a node that fell silent, comes back. Call inside a transaction. */
  pass(now: number): void {
    const lapsed = this.#grants.lapsed(now, this.#silenceMs);
    if (lapsed.length === 0) return;
    const at = this.#epochs.standing;
    for (const grant of lapsed) {
      const reason = grant.expiresAt <= now ? "lease ran out" : "node fell silent";
      this.#takeBack(at, grant, { ending: "expired", node: grant.node, reason }, now);
    }
    this.#save(at, now);
  }

  /** Takes back all that is out, through no fault of the nodes. Call inside a transaction. */
  withdraw(now: number): void {
    const out = this.#grants.all();
    if (out.length === 0) return;
    const at = this.#epochs.standing;
    for (const grant of out) this.#takeBack(at, grant, { ending: "withdrawn", node: grant.node, reason: "" }, now);
    this.#epochs.save(at);
  }

  /** `units-out` while units are in nodes' hands, with how many, and the first of the nodes; null where none are. */
  out(): Failure | null {
    const nodes = this.#grants.nodes(NODES_NAMED + 1);
    if (nodes.length === 0) return null;
    const named = nodes.slice(0, NODES_NAMED).join(", ") + (nodes.length > NODES_NAMED ? " and others" : "");
    const wayOut = 'acknowledge or release them first, or finish with the outcome "failed"';
    const detail = `${this.#epochs.standing.leased} units are with ${named}; ${wayOut}.`;
    return failure("units-out", detail, { field: "outcome" });
  }

  /** Where a job that resumes begins. What is only leased is handed out again there. */
  checkpoint(): Resume {
    const at = this.#epochs.standing;
    if (at.isOver) return { ...NOTHING_BEFORE, epoch: this.#spec.units.epochs };
    const leased = this.#grants.all().flatMap(({ held }) => held.map(([position]) => position));
    const open = [...leased, ...this.#returned.positions(at.epoch, "waiting")].toSorted((a, b) => a - b);
    const failures = this.#returned.failures(at.epoch, new Set(open), FAILURES_TOLD_MAX);
    return { epoch: at.epoch, next: at.next, open, failures, givenUp: this.#returned.positions(at.epoch, "given-up") };
  }

  /** The epoch that the job is in, or its last one, and how far that is. */
  get standing(): { epoch: number; progress: Progress } {
    const at = this.#epochs.standing;
    return { epoch: at.epoch, progress: this.#epochs.progressOf(at.epoch, at, this.#spec) };
  }

  /** The same as who watches wants it; null before there is a job. */
  get progress(): (Progress & { epoch: number; epochs: number }) | null {
    const spec = this.#specOf();
    if (spec === null) return null;
    const { epoch, progress } = this.standing;
    return { epoch, epochs: spec.units.epochs, ...progress };
  }

  /** Of each node that holds units: how many, and since when it is busy, in milliseconds since 1970. */
  open(): ReadonlyMap<string, { leased: number; busySince: number }> {
    return this.#grants.open();
  }

  /** The first units that were given up, of all epochs. */
  get failedUnits(): FailedUnit[] {
    return this.#returned.reported();
  }

  /** When a lease may run out next, milliseconds since 1970: never later than one does. Null while nothing is out. */
  dueAt(): number | null {
    return this.#grants.dueAt(this.#silenceMs);
  }

  /** How an attempt ended that is not out any more. */
  #outcomeOf(at: Standing, { epoch, position, attempt }: Ticket): AckOutcome {
    return epoch < at.knownFrom ? "expired" : this.#returned.outcomeOf(epoch, position, attempt);
  }

  /** A position that was out waits again, or is given up: true. */
  #comeBack(
    at: Standing,
    { position, attempt }: Pick<Ticket, "position" | "attempt">,
    { ending, node, reason }: { ending: Ending; node: string; reason: string },
    now: number,
  ): boolean {
    at.leased -= 1;
    const failures = this.#returned.comeBack(at.epoch, position, attempt, ending, node, now);
    const isFailure = ending === "failed" || ending === "expired";
    // A release gives nothing up, not even what failed too often for this job in the one that it resumes.
    if (!isFailure || failures < this.#spec.units.maxAttempts) {
      at.waiting += 1;
      return false;
    }
    at.givenUp += 1;
    this.#returned.giveUp(at.epoch, position, { unit: this.#unitAt(at.epoch, position), node, reason });
    return true;
  }

  #takeBack(at: Standing, grant: Grant, how: { ending: Ending; node: string; reason: string }, now: number): void {
    for (const [position, attempt] of grant.held) this.#comeBack(at, { position, attempt }, how, now);
    this.#grants.keep({ ...grant, held: [] });
  }

  /** Writes the standing back, in the next epoch where this one is over. */
  #save(at: Standing, now: number): void {
    if (this.#epochs.turn(at, this.#spec, now)) at.knownFrom = this.#returned.forget(at.knownFrom, at.epoch);
    this.#epochs.save(at);
  }

  #unitAt(epoch: number, position: number): number {
    return this.#epochs.orderOf(epoch, this.#spec).unitAt(position);
  }

  get #spec(): JobSpec {
    const spec = this.#specOf();
    if (spec === null) throw new Error("There is no job that leases.");
    return spec;
  }

  /** Milliseconds without a word after which a node loses its leases. */
  get #silenceMs(): number {
    return this.#spec.heartbeatTimeoutSeconds * 1000;
  }
}
