import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { formatCsvRecord, formatSha256Line, formatUnsummedLine } from "../../workers/core/manifest/lists.ts";
import { readRecord } from "../../workers/core/migration/csv.ts";

describe("a list for sha256sum", () => {
  const names = [
    "plain",
    "with space",
    "back\\slash",
    "new\nline",
    "return\r",
    "\\n",
    "#hash",
    " first",
    "*star",
    "é",
    "-",
  ];

  it("is what coreutils checks files by, whatever their names, and its comments are passed over", () => {
    const folder = mkdtempSync(join(tmpdir(), "sums-"));
    try {
      for (const name of names) writeFileSync(join(folder, name), `of ${name}`);
      const sumOf = (name: string) => createHash("sha256").update(`of ${name}`).digest("hex");
      const list =
        names.map((name) => formatSha256Line(sumOf(name), name)).join("") + names.map(formatUnsummedLine).join("");
      writeFileSync(join(folder, "SHA256SUMS"), list);
      execFileSync("sha256sum", ["--check", "--strict", "--quiet", "SHA256SUMS"], { cwd: folder, stdio: "pipe" });
      writeFileSync(join(folder, "back\\slash"), "altered");
      expect(() =>
        execFileSync("sha256sum", ["--check", "--status", "SHA256SUMS"], { cwd: folder, stdio: "pipe" }),
      ).toThrow("Command failed");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("a CSV record", () => {
  it("is read as it was written, whatever is in it", () => {
    const fields = ["a", "", 'q"uote', "com,ma", "li\nne", "re\rturn", "é", " "];
    const text = formatCsvRecord([...fields, null, 7]);
    expect(readRecord(text, 0, true)).toMatchObject({ fields: [...fields, "", "7"], problem: null, next: text.length });
  });
});
