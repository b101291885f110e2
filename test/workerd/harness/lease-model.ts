import { expect } from "vitest";
import type { JobSpec } from "../../../workers/core/jobs/job.ts";
import type { AckOutcome, LeaseAnswer, Progress } from "../../../workers/core/jobs/lease.ts";

/** A lease as it was given, and how it ended. */
export interface Given {
  lease: string;
  node: string;
  unit: number;
  epoch: number;
  expiresAt: number;
  /** Null while it is out. */
  ended: AckOutcome | null;
}

interface UnitModel {
  failures: number;
  /** The node that said last that it failed, and when. */
  failedBy: string | null;
  failedAt: number;
  place: "fresh" | "out" | "waiting" | "done" | "given-up";
}

/**
 * What a job's leases should do, told without positions, tickets or tables: units by their numbers, each lease with its end.
 * It finds out what time does by itself, and checks every answer.
 */
export class LeaseModel {
  readonly spec: JobSpec;
  readonly given = new Map<string, Given>();
  /** By epoch; of those that are over, all are done or given up. */
  readonly epochs: UnitModel[][] = [];
  readonly #heardAt = new Map<string, number>();
  epoch = 0;
  isOver = false;

  constructor(spec: JobSpec) {
    this.spec = spec;
    this.epochs.push(this.#freshUnits());
  }

  #freshUnits = (): UnitModel[] =>
    Array.from({ length: this.spec.unitList.count }, () => ({
      ...{ failures: 0, failedBy: null, failedAt: 0 },
      place: "fresh" as const,
    }));

  get #units(): UnitModel[] {
    return this.epochs[this.epoch] ?? [];
  }

  count(...places: UnitModel["place"][]): number {
    return this.#units.filter(({ place }) => places.includes(place)).length;
  }

  get progress(): Progress {
    return {
      units: this.#units.length,
      done: this.count("done"),
      leased: this.count("out"),
      waiting: this.count("waiting", "fresh"),
      failed: this.count("given-up"),
    };
  }

  /** What is out comes back where its lease or its node's word has run out. */
  pass(now: number): void {
    const silenceMs = this.spec.heartbeatTimeoutSeconds * 1000;
    for (const given of this.given.values()) {
      if (given.ended !== null) continue;
      const heardAt = this.#heardAt.get(given.node) ?? 0;
      if (now >= given.expiresAt || now >= heardAt + silenceMs) given.ended = this.#fails(given, "expired");
    }
    this.#turn();
  }

  heard(node: string, now: number): void {
    this.#heardAt.set(node, now);
  }

  #fails({ unit, node }: Given, ended: "failed" | "expired"): AckOutcome {
    const model = this.#unit(unit);
    model.failures += 1;
    model.failedBy = ended === "failed" ? node : null;
    model.failedAt = Date.now();
    const isGivenUp = model.failures >= this.spec.units.maxAttempts;
    model.place = isGivenUp ? "given-up" : "waiting";
    return isGivenUp ? "given-up" : ended;
  }

  /** What a node failed itself is another's, while one is there, and for as long as a lease lasts. */
  #availableTo(node: string, now: number): number {
    const { heartbeatTimeoutSeconds, units } = this.spec;
    const since = now - heartbeatTimeoutSeconds * 1000;
    const isAlone = ![...this.#heardAt].some(([other, at]) => other !== node && at > since);
    const isFor = ({ failedBy, failedAt }: UnitModel) =>
      isAlone || failedBy !== node || failedAt <= now - units.leaseSeconds * 1000;
    const waiting = this.#units.filter((model) => model.place === "waiting" && isFor(model));
    return waiting.length + this.count("fresh");
  }

  #unit(unit: number): UnitModel {
    const model = this.#units[unit];
    if (model === undefined) throw new Error(`There is no unit ${unit}.`);
    return model;
  }

  #turn(): void {
    if (this.isOver || this.count("done", "given-up") < this.#units.length) return;
    if (this.epoch + 1 >= this.spec.units.epochs) this.isOver = true;
    else {
      this.epoch += 1;
      this.epochs.push(this.#freshUnits());
    }
  }

  /** Checks an answer to a request that is new (`before` null), or that was answered with these leases before. */
  leased(node: string, count: number, before: readonly string[] | null, answer: LeaseAnswer, now: number): void {
    const still = (before ?? []).filter((lease) => this.given.get(lease)?.ended === null);
    const leases = answer.leases.map(({ lease }) => lease);
    if (this.isOver) expect(answer.state).toBe("done");
    else if (still.length > 0) expect(leases.toSorted()).toEqual(still.toSorted());
    else {
      expect(leases).toHaveLength(Math.min(count, this.#availableTo(node, now)));
      expect(answer.state).toBe(leases.length > 0 ? "granted" : "wait");
      for (const { lease, unit } of answer.leases) {
        expect(this.given.has(lease), "a lease that was given before").toBe(false);
        expect(this.#unit(unit).place, `unit ${unit} is handed out`).toMatch(/^(fresh|waiting)$/);
        this.#unit(unit).place = "out";
        const expiresAt = answer.expiresAt ?? 0;
        this.given.set(lease, { lease, node, unit, epoch: this.epoch, expiresAt, ended: null });
      }
      if (leases.length > 0) expect(answer.expiresAt).toBe(now + this.spec.units.leaseSeconds * 1000);
    }
    if (leases.length > 0) expect(answer).toMatchObject({ epoch: this.epoch, progress: this.progress });
  }

  /** How an acknowledgement is to be answered. */
  acknowledged(lease: string, outcome: "done" | "failed" | "released"): AckOutcome {
    const given = this.given.get(lease);
    if (given === undefined) throw new Error(`${lease} was not given.`);
    if (given.ended !== null) return given.ended;
    if (outcome === "failed") given.ended = this.#fails(given, "failed");
    else {
      given.ended = outcome;
      this.#unit(given.unit).failedBy = null;
      this.#unit(given.unit).place = outcome === "done" ? "done" : "waiting";
    }
    return given.ended;
  }

  /** To be called once a request's acknowledgements were all answered. */
  settled(): void {
    this.#turn();
  }

  /** Each unit of an epoch that is over was done by one accepted acknowledgement, or was given up. */
  expectWhole(): void {
    const done = new Map<string, number>();
    for (const { epoch, unit, ended } of this.given.values()) {
      if (ended === "done") done.set(`${epoch} ${unit}`, (done.get(`${epoch} ${unit}`) ?? 0) + 1);
    }
    for (const [epoch, units] of this.epochs.entries()) {
      if (epoch === this.epoch && !this.isOver) continue;
      for (const [unit, { place }] of units.entries()) {
        expect(done.get(`${epoch} ${unit}`) ?? 0, `unit ${unit} of epoch ${epoch}`).toBe(place === "done" ? 1 : 0);
        expect(place).toMatch(/^(done|given-up)$/);
      }
    }
  }
}
