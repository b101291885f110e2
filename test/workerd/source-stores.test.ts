import { expect, it } from "vitest";
import { sourceStoreOf } from "../../workers/adapters/source-stores.ts";
import { refused } from "../contract/given.ts";
import { must } from "./harness/run.ts";
import { envWithSource } from "./harness/source.ts";

it("a source is opened once per isolate and name, so that its signing key is derived once", async () => {
  const seen = envWithSource({});
  const store = must(sourceStoreOf(seen, "test", "reading"));
  expect(must(sourceStoreOf(seen, "test", "reading"))).toBe(store);
  expect(must(sourceStoreOf(envWithSource({}), "test", "reading")), "another configuration is another source").not.toBe(
    store,
  );
  expect(await store.head("source-stores/none")).toMatchObject(refused("object-not-found"));
});

it("a source that is not configured completely says what is missing", () => {
  expect(sourceStoreOf(envWithSource({}), "other", "reading")).toMatchObject(refused("unknown-source"));
  const secretless = { ...envWithSource({}), SOURCE_TEST_SECRET_ACCESS_KEY: "" };
  expect(sourceStoreOf(secretless, "test", "reading")).toMatchObject(refused("source-not-configured"));
  expect(sourceStoreOf({ ...envWithSource({}), R2_ENDPOINT: "" }, "test", "reading")).toMatchObject(
    refused("misconfigured"),
  );
});
