import { setTimeout as sleep } from "node:timers/promises";
import { journalTail, redisLedger } from "@millrace/pipeline/runtime";
import type { Site } from "./site.ts";

/** What is still to be done when the time is over. */
export interface Unfinished {
  /** Ids of messages that have work left. */
  inFlight: ReadonlySet<string>;
  problem: string;
}

/** Waits until nothing is in flight any more: no message has work left, and the journal is archived. */
export async function untilIdle(site: Site, within: number): Promise<Unfinished | undefined> {
  const redis = site.redisClient();
  const [ledger, journal] = [redisLedger(redis), journalTail(redis)];
  const deadline = Date.now() + within;
  let inFlight: ReadonlySet<string> = new Set();
  let last = "Redis has not answered once";
  let calm = 0;
  try {
    while (Date.now() < deadline) {
      try {
        const [open, entries] = await Promise.all([ledger.openCount(), journal.length()]);
        calm = open + entries === 0 ? calm + 1 : 0;
        // Twice: a commit that its sender has given up on may just be on its way.
        if (calm === 2) return undefined;
        inFlight = new Set((await ledger.open(0, open)).map(({ id }) => id));
        const some = [...inFlight].slice(0, 5).join(", ");
        last = `${open} messages in flight (${some}), ${entries} journal entries not archived`;
      } catch (error) {
        last = `Redis could not be asked (${(error as Error).message})`;
      }
      await sleep(150);
    }
    return { inFlight, problem: `not idle after ${within / 1_000} s: ${last}` };
  } finally {
    redis.disconnect();
  }
}
