import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { bootstrapScript } from "../../workers/core/jobs/bootstrap.ts";
import { exportLines, shellQuoted } from "../../workers/core/jobs/environment.ts";

const folder = mkdtempSync(join(tmpdir(), "penstock-unit-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const nasty = [
  "it's",
  "'",
  "''; touch hacked; '",
  '$(touch hacked) `touch hacked` "$HOME"',
  "a\nb\n",
  "\\",
  "\\'",
  "-n",
  "",
  "é 日本 \u{1f600}",
  "PENSTOCK_END\n",
  "!history & | ; < > * ? [ ] # ~ = %",
];

describe("the environment of a job", () => {
  it("is read by sh as it was written, whatever the values", () => {
    const variables = Object.fromEntries(nasty.map((value, index) => [`V${index}`, value]));
    const print = nasty.map((_, index) => `printf '%s\\0' "$V${index}"`).join("\n");
    const out = execFileSync("sh", ["-c", `${exportLines(variables)}\n${print}`], { cwd: folder });
    expect(out.toString().split("\0").slice(0, -1)).toEqual(nasty);
    expect(readdirSync(folder)).toEqual([]);
  });

  it("quotes any text that a variable can have", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        fc.pre(!text.includes("\0"));
        expect(execFileSync("sh", ["-c", `printf %s ${shellQuoted(text)}`]).toString()).toBe(text);
      }),
      { numRuns: 50 },
    );
  });

  it("leaves out what has no value", () => {
    expect(exportLines({ A: "1", B: null, C: undefined, D: "" })).toBe("export A='1'\nexport D=''");
  });
});

describe("the bootstrap script", () => {
  const environment = exportLines({
    PENSTOCK_URL: "http://127.0.0.1:1",
    PENSTOCK_JOB: "job_1",
    PENSTOCK_TOKEN: "s3cr3t",
  });
  const run = (script: string, cwd: string, env: NodeJS.ProcessEnv) =>
    spawnSync("/bin/sh", { input: script, cwd, env, encoding: "utf8" });

  it("refuses to begin without curl, and has made nothing then", () => {
    const cwd = mkdtempSync(join(folder, "no-curl-"));
    const { status, stderr } = run(bootstrapScript("job_1", environment), cwd, { PATH: cwd });
    expect([status, stderr]).toEqual([1, "penstock: curl is needed, and is not on the PATH\n"]);
    expect(readdirSync(cwd)).toEqual([]);
  });

  it("does nothing at all when it was cut off on the way", () => {
    const script = bootstrapScript("job_1", environment);
    for (const share of [0.2, 0.5, 0.9]) {
      const cwd = mkdtempSync(join(folder, "cut-"));
      run(script.slice(0, script.length * share), cwd, process.env);
      expect(readdirSync(cwd)).toEqual([]);
    }
  });

  it.each([
    ["GPU_Box.example.com", "gpu-box-example-com"],
    ["--x", "x"],
    ["..", "node"],
    ["a".repeat(100), "a".repeat(63)],
    ["'; touch hacked; '", "touch-hacked---"],
  ])("takes %j for the node %s, keeps secrets in a file of its owner's, and prints none", (asked, name) => {
    const cwd = mkdtempSync(join(folder, "node-"));
    const nastyEnvironment = `${environment}\n${exportLines({ NASTY: nasty.join("|") })}`;
    const script = bootstrapScript("job_1", nastyEnvironment);
    // Nobody listens there: the heartbeat fails, and that is said.
    const { status, stdout, stderr } = run(script, cwd, { ...process.env, PENSTOCK_NODE: asked });
    expect(status).toBe(1);
    expect(stdout + stderr).not.toContain("s3cr3t");
    expect(stderr).toContain("heartbeat");
    const file = join(cwd, "penstock-job/env");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const sourced = `. ./penstock-job/env; printf '%s\\0' "$PENSTOCK_TOKEN" "$PENSTOCK_NODE" "$NASTY"`;
    const [token, node, text] = execFileSync("sh", ["-c", sourced], { cwd }).toString().split("\0");
    expect(node).toBe(name);
    expect(node).toMatch(/^[a-z0-9][a-z0-9-]{0,62}$/);
    expect([token, text]).toEqual(["s3cr3t", nasty.join("|")]);
    expect(readFileSync(join(cwd, "penstock-job/penstock"), "utf8")).not.toContain("s3cr3t");
    expect(readdirSync(cwd)).toEqual(["penstock-job"]);
    expect(readdirSync(join(cwd, "penstock-job")).toSorted()).toEqual(["env", "penstock"]);
  });
});
