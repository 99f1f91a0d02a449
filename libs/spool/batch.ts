/**
 * Collects single calls into batches: while one batch is under way the next fills, so that a busy process pays
 * for a round trip or an fsync once for many and an idle one waits for nobody.
 *
 * @param run handles one batch; an Error in the place of a result is the failure of that call alone, and its own
 * failure is the failure of every call
 * @param limit most items in one batch
 */
export function batched<Item, Result>(
  run: (items: readonly Item[]) => Promise<readonly (Result | Error)[]>,
  limit: number,
): { add(item: Item): Promise<Result>; idle(): Promise<void> } {
  interface Waiting {
    item: Item;
    resolve(result: Result): void;
    reject(error: unknown): void;
  }
  const waiting: Waiting[] = [];
  let running: Promise<void> | undefined;

  const runAll = async () => {
    // A turn of the event loop lets the calls of one burst share the first batch.
    await new Promise(setImmediate);
    while (waiting.length > 0) {
      const batch = waiting.splice(0, limit);
      try {
        const results = await run(batch.map(({ item }) => item));
        for (const [index, { resolve, reject }] of batch.entries()) {
          const result = results[index] as Result | Error;
          if (result instanceof Error) reject(result);
          else resolve(result);
        }
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    running = undefined;
  };
  return {
    add(item) {
      return new Promise<Result>((resolve, reject) => {
        waiting.push({ item, resolve, reject });
        running ??= runAll();
      });
    },
    async idle() {
      await running;
    },
  };
}
