/** What `work` brings, or null if it takes longer. The work goes on. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const patience = new Promise<null>((give) => {
    timer = setTimeout(() => give(null), ms);
  });
  try {
    return await Promise.race([work, patience]);
  } finally {
    clearTimeout(timer);
  }
}
