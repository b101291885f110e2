import type { datasetOf } from "../workers/adapters/objects.ts";

/**
 * Does `work`, which asks what is sealed, while no version begins. It is held by a name of its own: of two deliveries of one
 * message at once, neither lets go of what the other needs.
 *
 * @param who the message; what has deleted and not yet told the manifest holds by this name alone, until it is told
 */
export async function whileSealingIsHeld<T>(
  dataset: Pick<ReturnType<typeof datasetOf>, "holdSealing" | "releaseSealing">,
  datasetId: string,
  who: string,
  work: () => Promise<T>,
): Promise<T> {
  const holder = `${who}/${crypto.randomUUID()}`;
  await dataset.holdSealing(datasetId, holder);
  try {
    return await work();
  } finally {
    await dataset.releaseSealing(holder);
  }
}
