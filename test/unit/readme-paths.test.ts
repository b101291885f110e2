import { describe, expect, test } from "vitest";
import { readmeProblems } from "../check/readme-paths.ts";

const FILES = [
  "README.md",
  "LICENSE",
  "wrangler.toml",
  "package.json",
  "queues/settle.ts",
  "workers/core/http/range.ts",
];
const problems = (readme: string) => readmeProblems(readme, FILES, ["demo", "test", "test:clients"]);
const fence = (...lines: string[]) => ["```", ...lines, "```", ""].join("\n");

describe("the README may name", () => {
  test.each([
    ["a file and a folder of the tree", "`queues/settle.ts`, `workers/core/`, `workers/core/http`"],
    ["a file by its name alone", "`wrangler.toml`, `range.ts`"],
    ["an object's key, a media type, a package", "`t2m/zarr.json`, `zarr.json`, `application/json`, `@zarrita/core`"],
    ["a key with a placeholder", "`versions/<n>/index.parquet`, `workers/<name>/x.ts`, `queues/*/consumer.ts`"],
    ["a route and a URL", "`/v1/jobs/:id`, `/d/era5/x.ts`, `https://host.example/queues/none.ts`"],
    ["links", "[licence](LICENSE), [range](./workers/core/http/range.ts#L1), [RFC](https://rfc.example/a.md)"],
    ["scripts", "`npm run demo`, `npm test`, npm run test:clients"],
    ["a diagram with the tree's folders", fence("S3 ─▶ queues/settle.ts ──▶ R2", "workers/core.", "a/b.ts")],
  ])("%s", (_, readme) => {
    expect(problems(readme)).toEqual([]);
  });
});

describe("the README may not name", () => {
  test.each([
    ["a file that is gone", "`queues/gone.ts`", "queues/gone.ts"],
    ["a folder that is gone", "`workers/utils/`", "workers/utils/"],
    ["a source file in a folder that is gone", "`lib/range.ts`", "lib/range.ts"],
    ["a file by a name that none has", "`gone.ts`", "gone.ts"],
    ["a link to nothing", "[here](docs/API.md)", "docs/API.md"],
    ["a script that is gone", "`npm run deploy:all`", "deploy:all"],
    ["a gone file in a fenced block", fence("node queues/gone.ts --now"), "queues/gone.ts"],
  ])("%s", (_, readme, named) => {
    expect(problems(readme)).toEqual([expect.stringContaining(named)]);
  });
});
