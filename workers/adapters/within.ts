/** What `work` brings, or null if it takes longer. The work goes on. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T | null> {
  const { promise: patience, resolve: give } = Promise.withResolvers<null>();
  const timer = setTimeout(() => give(null), ms);
  try {
    return await Promise.race([work, patience]);
  } finally {
    clearTimeout(timer);
  }
}
