/**
 * What the object-store port means, as tests. Every adapter is held to it:
 * `describeObjectReader` for a store that is only read, `describeObjectStore` for one that is written as well.
 */
import type { ObjectStore } from "../../workers/ports/object-store.ts";
import { describeMultipartWriter } from "./multipart-writer.ts";
import { describeObjectReader } from "./object-reader.ts";
import { describeObjectWriter } from "./object-writer.ts";

export { describeObjectReader };

export function describeObjectStore(name: string, setup: () => ObjectStore): void {
  describeObjectReader(name, () => {
    const store = setup();
    return {
      reader: store,
      async give(objects) {
        for (const { key, bytes, metadata } of objects) {
          const put = await store.put(key, bytes, { http: {}, custom: {}, ...metadata, size: bytes.length });
          if (!put.ok) throw new Error(`${key} was not put: ${put.failure.detail}`);
        }
      },
    };
  });
  describeObjectWriter(name, setup);
  describeMultipartWriter(name, setup);
}
