import { workerData } from "node:worker_threads";
import { patientRedis } from "@millrace/service";
import { redisSpool } from "@millrace/spool";
import { startClock } from "../parse-clock.ts";
import parseInThread, { type ParseOutcome, type ParseTask, type ThreadData } from "../parse-thread.ts";

const spool = redisSpool(patientRedis((workerData as ThreadData).redisUrl));

/** The real thread, but for messages that say what is to happen to the thread that reads them. */
export default async function parseOrDie(task: ParseTask): Promise<ParseOutcome> {
  const body = await spool.read(task.id).catch(() => Buffer.alloc(0));
  const poison = /^X-Poison: (\w+)/m.exec(body.toString("latin1"))?.[1];
  if (poison) startClock(task.clock);
  const hoard: string[][] = [];
  switch (poison) {
    case "loop":
      for (;;);
    case "hang":
      await new Promise(() => {});
      break;
    case "heap":
      for (;;) hoard.push(Array.from({ length: 10_000 }, (_, i) => `${i} of ${hoard.length}`));
    case "throw":
      setImmediate(() => {
        throw new Error("thrown where nobody catches");
      });
      await new Promise(() => {});
      break;
    case "exit":
      process.exit(3);
  }
  return parseInThread(task);
}
