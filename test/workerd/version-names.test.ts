import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { visitNamed } from "../../workers/adapters/version-names.ts";
import { pageOfVersion } from "../../workers/adapters/version-rows.ts";
import { EVERYTHING } from "../../workers/core/manifest/query.ts";
import type { NamedRow } from "../../workers/core/manifest/resolve.ts";
import type { SealedFile } from "../../workers/core/manifest/version.ts";
import { givenRow } from "../harness/rows.ts";
import { must } from "./harness/run.ts";
import { sealable } from "./harness/sealed.ts";

/** Rows whose checksums are most of their file. */
async function sealedFiles(): Promise<readonly SealedFile[]> {
  const { id, stub, seal } = await sealable();
  const sum = () => crypto.getRandomValues(new Uint8Array(32)).toHex();
  const rows = Array.from({ length: 1000 }, (_, i) =>
    givenRow(`raw/c/${i}/a.json`, { sha256: sum(), etag: sum().slice(32) }),
  );
  must(await stub.applyRows(id, rows));
  const { number } = await seal();
  return must(await stub.version({ kind: "number", number })).files;
}

/** SYSTEM, and how many bytes of it are asked for. */
function counted() {
  const read = { bytes: 0, gets: 0 };
  const SYSTEM = new Proxy(env.SYSTEM, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      const method = value.bind(target) as (...args: unknown[]) => unknown;
      if (name !== "get") return method;
      return (key: string, options?: { range?: { length?: number } }) => {
        read.gets++;
        read.bytes += options?.range?.length ?? 0;
        return method(key, options);
      };
    },
  });
  return { read, seen: { ...env, SYSTEM } };
}

describe("names in a sealed version", () => {
  it("are looked for in three columns, and what was read whole is in memory the next time", async () => {
    const files = await sealedFiles();
    const { read, seen } = counted();
    const found: NamedRow[] = [];
    must(await visitNamed(seen, files, "a.json", (row) => found.push(row)));
    expect([found.length, found[0]]).toEqual([1000, { key: "raw/c/0/a.json", stage: "raw", category: "c" }]);
    const footer = 64 * 1024;
    expect(read.bytes - footer).toBeLessThan((files[0]?.bytes ?? 0) / 4);
    must(await pageOfVersion(seen, { seq: 1, files }, EVERYTHING, null, 10));
    const whole = read.gets;
    must(await pageOfVersion(seen, { seq: 1, files }, EVERYTHING, null, 10));
    must(await visitNamed(seen, files, "b.json", (row) => found.push(row)));
    expect([read.gets, found.length]).toEqual([whole, 1000]);
  });

  it("of more than a hundred row groups are refused, with the way out, and nothing is read", async () => {
    const groups = Array.from({ length: 101 }, (_, i) => `k${String(i).padStart(3, "0")}`);
    const file: SealedFile = {
      ...{ kind: "manifest", key: "none", rows: 101, bytes: 1, etag: "e", sha256: "", lastKey: "z" },
      groups,
    };
    const { read, seen } = counted();
    const looked = await visitNamed(seen, [file], "a.json", () => undefined);
    expect(looked).toMatchObject({ ok: false, failure: { code: "invalid-query", field: "version" } });
    expect(looked.ok ? "" : looked.failure.detail).toContain("suffix=a.json");
    expect(read.gets).toBe(0);
  });
});
