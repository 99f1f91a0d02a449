import { setTimeout as sleep } from "node:timers/promises";
import { journalTail, redisLedger } from "@millrace/pipeline";
import type { Site } from "./site.ts";

/**
 * Waits until nothing is in flight any more: no message has work left, and the journal is archived.
 * @returns undefined, or what is still there when the time is over
 */
export async function untilIdle(site: Site, within: number): Promise<string | undefined> {
  const redis = site.redisClient();
  const [ledger, journal] = [redisLedger(redis), journalTail(redis)];
  const deadline = Date.now() + within;
  let last = "Redis has not answered once";
  let calm = 0;
  try {
    while (Date.now() < deadline) {
      try {
        const [open, entries] = await Promise.all([ledger.openCount(), journal.length()]);
        calm = open + entries === 0 ? calm + 1 : 0;
        // Twice: a commit that its sender has given up on may just be on its way.
        if (calm === 2) return undefined;
        const some = (await ledger.open(0, 10)).map(({ id }) => id).join(", ");
        last = `${open} messages in flight (${some}), ${entries} journal entries not archived`;
      } catch (error) {
        last = `Redis could not be asked (${(error as Error).message})`;
      }
      await sleep(150);
    }
    return `not idle after ${within / 1_000} s: ${last}`;
  } finally {
    redis.disconnect();
  }
}
