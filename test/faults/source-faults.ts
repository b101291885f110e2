/** Faults of the source: what it does while a migration runs, and what must come of it. One dataset each. */
import { type FaultName, RETRY_AFTER_SECONDS } from "../harness/faults.ts";
import type { Weather } from "../harness/fault-proxy.ts";
import type { Checks } from "../harness/checks.ts";
import { largeObjects, objectOf, PART_BYTES, smallObjects, type SourceObject, type Stored } from "./objects.ts";

/** The scenario's own place at the source. */
export interface Place {
  chance: () => number;
  put(objects: readonly SourceObject[]): Promise<Map<string, Stored>>;
  remove(key: string): Promise<void>;
}

export interface Scene {
  /** What the run must copy; a weather that changes the source keeps it up to date. */
  objects: Map<string, Stored>;
  failures?: Record<string, string>;
  weather?: Weather;
  /** More that must hold, when the run has ended. */
  check?(checks: Checks): void;
}

export interface SourceFault {
  name: string;
  what: string;
  /** It keeps a message so long that others must not wait for the simulator's queue, which has one consumer. */
  alone?: true;
  set(place: Place): Promise<Scene>;
}

const SMALL = 60;
const all = ({ chance }: Place) => [...smallObjects(SMALL, chance), ...largeObjects(chance)];

/** An object of each way of copying for each fault, named after it. */
function named(chance: () => number, faults: readonly FaultName[], times: number): SourceObject[] {
  return faults.flatMap((fault) => [
    objectOf(`small/fault-${fault}~${times}`, 3000, chance),
    ...largeObjects(chance, `/fault-${fault}~${times}`),
  ]);
}

/** Some objects whose fault never passes, and what they are to be reported as. */
async function lasting(place: Place, faults: Partial<Record<FaultName, string>>): Promise<Record<string, string>> {
  const failures = Object.entries(faults).map(([fault, code]) => [`lasting/fault-${fault}`, code] as const);
  await place.put(failures.map(([key]) => objectOf(key, 2000, place.chance)));
  return Object.fromEntries(failures);
}

export const SOURCE_FAULTS: readonly SourceFault[] = [
  {
    name: "bursts-of-503",
    what: "after 28 answers all are 503 for a second, or 12 times, listings too",
    async set(place) {
      let good = Math.floor(place.chance() * 28);
      let bad = { left: 0, until: 0 };
      const weather: Weather = () => {
        if (good-- > 0) return null;
        if (bad.left === 0) bad = { left: 12, until: Date.now() + 1000 };
        bad.left -= 1;
        const isOver = Date.now() > bad.until;
        if (isOver || bad.left === 0) {
          good = 28;
          bad.left = 0;
        }
        return isOver ? null : "503";
      };
      return { objects: await place.put(all(place)), weather };
    },
  },
  {
    name: "retry-after",
    what: `more than 20 requests in a second are answered 429 with Retry-After: ${RETRY_AFTER_SECONDS}`,
    async set(place) {
      const taken: number[] = [];
      const refused = new Map<string, number>();
      const early: string[] = [];
      const weather: Weather = ({ method, key, range }) => {
        const now = Date.now();
        const request = `${method} ${key ?? "listing"} ${range ?? ""}`;
        if (now < (refused.get(request) ?? 0)) early.push(request);
        while (taken[0] !== undefined && taken[0] < now - 1000) taken.shift();
        if (taken.length < 20) {
          taken.push(now);
          return null;
        }
        refused.set(request, now + RETRY_AFTER_SECONDS * 1000);
        return "429";
      };
      return {
        objects: await place.put(all(place)),
        weather,
        check(checks) {
          checks.that("some requests were refused", refused.size > 0);
          checks.equal("none of them came again before its Retry-After was over", early, []);
        },
      };
    },
  },
  {
    name: "resets",
    what: "every eighth connection is reset before an answer, and every sixteenth in the middle of one",
    async set(place) {
      const { chance } = place;
      const weather: Weather = () => {
        const dice = chance() * 16;
        if (dice < 2) return "reset";
        return dice < 3 ? "truncate" : null;
      };
      return { objects: await place.put(all(place)), weather };
    },
  },
  {
    name: "stalls",
    what: "no answer comes, or half a body and then nothing",
    alone: true,
    async set(place) {
      const objects = await place.put([...all(place), ...named(place.chance, ["stall-body"], 1)]);
      const silent = new Set(["c/0003", "c/0013", "large/streamed", "large/in-parts"]);
      const weather: Weather = ({ method, key }) =>
        method === "GET" && silent.delete(key?.slice(key.indexOf("/") + 1) ?? "") ? "stall" : null;
      return { objects, weather };
    },
  },
  {
    name: "truncated-bodies",
    what: "bodies break off, once or for ever",
    async set(place) {
      const objects = await place.put([...all(place), ...named(place.chance, ["truncate"], 2)]);
      return { objects, failures: await lasting(place, { truncate: "source-truncated" }) };
    },
  },
  {
    name: "flipped-byte",
    what: "one byte of a body is another, once or for ever",
    async set(place) {
      const objects = await place.put(
        [...all(place), ...named(place.chance, ["wrong-byte"], 1)]
          // No checksum of a source that knows only MD5 tells of a byte in a part: see the README's "Proofs".
          .filter(({ key }) => !key.startsWith("large/whole/")),
      );
      return { objects, failures: await lasting(place, { "wrong-byte": "checksum-mismatch" }) };
    },
  },
  {
    name: "wrong-content-length",
    what: "another length is announced than is sent, or than the object has, once or for ever",
    async set(place) {
      const lengths = ["shorter", "longer", "announces-more", "announces-fewer", "unmeasured"] as const;
      const objects = await place.put([...all(place), ...named(place.chance, lengths, 1)]);
      const failures = await lasting(place, {
        ...{ shorter: "source-bad-answer", longer: "source-bad-answer", unmeasured: "source-bad-answer" },
        ...{ "announces-more": "source-bad-answer", "announces-fewer": "source-bad-answer" },
      });
      return { objects, failures };
    },
  },
  {
    name: "changed-in-mid-copy",
    what: "objects are put anew, or deleted, between their listing and the last byte of their copy",
    async set(place) {
      const { chance, put, remove } = place;
      const objects = await put(all(place));
      const [gone, small, ...later] = ["c/0007", "c/0011", "large/streamed", "large/whole", "large/in-parts"] as const;
      objects.delete(gone);
      const due = new Set<string>([gone, small, ...later]);
      const weather: Weather = async ({ method, key: whole, range }) => {
        const key = whole?.slice(whole.indexOf("/") + 1) ?? "";
        // The second part is asked for: the first is copied, or on its way.
        const isNow =
          key === gone || key === small || key === "large/streamed" || range?.startsWith(`bytes=${PART_BYTES}-`);
        if (method !== "GET" || isNow !== true || !due.delete(key)) return null;
        if (key === gone) await remove(key);
        else {
          const partBytes = objects.get(key)?.partBytes;
          const size = (objects.get(key)?.bytes.length ?? 0) + 777;
          for (const [k, stored] of await put([objectOf(key, size, chance, partBytes)])) objects.set(k, stored);
        }
        return null;
      };
      return { objects, failures: { [gone]: "source-object-missing" }, weather };
    },
  },
  {
    name: "expired-credentials",
    what: "from the 30th request on, for six seconds, the credentials have expired",
    async set(place) {
      let until: number | null = null;
      const weather: Weather = ({ number }) => {
        if (number < 30) return null;
        until ??= Date.now() + 6000;
        return Date.now() < until ? "expired" : null;
      };
      return { objects: await place.put(all(place)), weather };
    },
  },
  {
    name: "a-bad-day",
    what: "every fifth answer has one fault or another",
    async set(place) {
      const { chance } = place;
      const any = ["503", "500", "429", "reset", "truncate", "shorter", "longer", "html", "announces-more"] as const;
      const weather: Weather = () => (chance() < 0.2 ? (any[Math.floor(chance() * any.length)] ?? null) : null);
      return { objects: await place.put(all(place)), weather };
    },
  },
];
