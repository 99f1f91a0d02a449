import { setTimeout as sleep } from "node:timers/promises";
import type { Route } from "@millrace/mail";
import type { MailStore } from "@millrace/mailstore";
import { type Pipeline, retain } from "@millrace/pipeline/runtime";
import type { Logger } from "@millrace/service";

const everyDay = 86_400_000;
/** Milliseconds after which another process may take over a run, and between two looks at one that another has. */
const lockFor = 3_600_000;
const lookAgain = 300_000;
const lockKey = "millrace:retention";

/**
 * Lets go of what the routes keep no longer: at the start, and every 24 hours. One process does it at a time; two would
 * only do each other's work. Returns a function that ends it.
 */
export function startRetention(
  { redis }: Pick<Pipeline, "redis">,
  mailstore: MailStore,
  routes: readonly Route[],
  log: Logger,
): () => Promise<void> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const run = async (): Promise<boolean> => {
    // What a process that was killed in the middle of a removal has left.
    const finished = await mailstore.finishRemovals();
    if (finished > 0) log.info({ blobs: finished }, "removal finished");
    if (!routes.some(({ keep }) => keep)) return true;
    if ((await redis.set(lockKey, process.pid, "PX", lockFor, "NX")) !== "OK") return false;
    try {
      const { routes: byRoute, ...summary } = await retain({ routes, mailstore, redis, signal });
      log.info({ ...summary, routes: byRoute.length }, "retained");
    } finally {
      await redis.del(lockKey);
    }
    return true;
  };
  const loop = async () => {
    while (!signal.aborted) {
      const done = await run().catch((error: Error) => {
        if (!signal.aborted) log.warn({ err: error }, "retention failed, trying again");
        return false;
      });
      await sleep(done ? everyDay : lookAgain, undefined, { signal, ref: false }).catch(() => {});
    }
  };
  const ended = loop();
  return async () => {
    stopping.abort();
    await Promise.race([ended, sleep(2_000, undefined, { ref: false })]);
  };
}
