import { describe, expect, test } from "vitest";
import { ROOT } from "../check/outcome.ts";
import { bannedText } from "../check/tracked-text.ts";

// In pieces, since this file is searched too.
const at = (...parts: string[]) => parts.join("");

describe("no file may hold", () => {
  test.each([
    ["where a checkout lies", `see ${ROOT}/notes.md`],
    ["a home folder", at("cd /ho", "me/alice/penstock")],
    ["a Windows home folder", at("C:\\Us", "ers\\alice")],
    ["a registry's host", at("https://registry.npm", "js.org/zod")],
    ["a choice of registry", at("npm ci --regi", "stry http://mirror.example")],
    ["work left undone", at("// TO", "DO: later")],
  ])("%s", (_, text) => {
    expect(bannedText("a.ts", `one\n${text}\n`)).toContainEqual(expect.stringMatching(/^a\.ts:2: /));
  });
});

test.each([
  "https://host.example/home/alice/x.ts",
  "GET /d/era5/work/x",
  "the registry route, POST /v1/datasets/:dataset/registry",
  "mkdtemp(join(tmpdir(), 'x'))",
])("%s is harmless", (text) => {
  expect(bannedText("a.ts", text)).toEqual([]);
});
