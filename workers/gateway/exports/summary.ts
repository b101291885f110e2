import type { Exported, Urls } from "./version.ts";

/** What a version is, in a sentence or two, for people. */
export function summaryOf({ name, sealed }: Exported, { expiresAt }: Urls): string {
  const { number, note, objects, bytes, createdAt } = sealed.info;
  const what = `Version ${number} of the dataset ${name} as it was at ${createdAt}: ${objects} objects of ${bytes} bytes.`;
  const expiry = expiresAt === null ? "" : ` The URLs expire at ${expiresAt}.`;
  return what + (note === "" ? "" : ` ${note}`) + expiry;
}
