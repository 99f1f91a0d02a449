import { type ParseBatch, type ParseOutcome, parseEach, parseOne } from "../parse-thread.ts";

/** The real thread, but for messages that say what is to happen to the thread that reads them. */
export default async function parseOrDie(batch: ParseBatch): Promise<ParseOutcome[]> {
  return parseEach(batch, async (id, body, clock) => {
    await takePoison(body?.toString("latin1") ?? "");
    return parseOne(id, body, clock);
  });
}

async function takePoison(body: string): Promise<void> {
  const hoard: string[][] = [];
  switch (/^X-Poison: (\w+)/m.exec(body)?.[1]) {
    case "loop":
      for (;;);
    case "hang":
      return new Promise(() => {});
    case "heap":
      for (;;) hoard.push(Array.from({ length: 10_000 }, (_, i) => `${i} of ${hoard.length}`));
    case "throw":
      setImmediate(() => {
        throw new Error("thrown where nobody catches");
      });
      return new Promise(() => {});
    case "exit":
      process.exit(3);
  }
}
