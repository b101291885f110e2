/**
 * A body that is made while it is read: nothing is made ahead of the client, and once it has gone, `gone` is aborted and
 * nothing more is asked for. What is thrown breaks the answer off.
 */
export function streamOf(
  make: (gone: AbortSignal) => AsyncGenerator<Uint8Array, void, void>,
): ReadableStream<Uint8Array> {
  const gone = new AbortController();
  const chunks = make(gone.signal);
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await chunks.next();
          if (gone.signal.aborted) return;
          if (next.done === true) controller.close();
          else controller.enqueue(next.value);
        } catch (error) {
          if (!gone.signal.aborted) throw error;
        }
      },
      async cancel() {
        gone.abort();
        await chunks.return();
      },
    },
    { highWaterMark: 0 },
  );
}
