import "vitest";

// What `global-setup.ts` gives to the tests that run inside workerd; `inject("source")` reads it there.
declare module "vitest" {
  interface ProvidedContext {
    source: { endpoint: string; region: string; bucket: string; accessKeyId: string; secretAccessKey: string };
    /** The origin of the fault proxy before it; endpoints are `<origin>/<mode>`. */
    faults: string;
    /** What the dice of a test follow from. */
    seed: number;
  }
}
