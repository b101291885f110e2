import "vitest";

// What `global-setup.ts` gives to the tests that run inside workerd, where `inject` reads it.
declare module "vitest" {
  interface ProvidedContext {
    /** `ownSource` adds the bucket. */
    source: { endpoint: string; region: string; accessKeyId: string; secretAccessKey: string };
    /** The origin of the fault proxy before it; endpoints are `<origin>/<mode>`. */
    faults: string;
    /** What the dice of a test follow from. */
    seed: number;
  }
}
