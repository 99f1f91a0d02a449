import { setTimeout as sleep } from "node:timers/promises";
import type { MailStore } from "@millrace/mailstore";
import { journalTail } from "@millrace/pipeline/runtime";
import { type Logger, patientRedis } from "@millrace/service";

/** Entries in one transaction, and milliseconds between two: a busy journal shares its fsyncs. */
const most = 2_000;
const pause = 25;

/**
 * Carries the journal from Redis to the mail store, where it stays, and moves the states that follow from it.
 * The cursor is written with the entries, so that a crash between archive and trim repeats nothing.
 * Reading blocks its connection, so it has one of its own, and one that brings nothing for much longer than a read
 * takes has fallen silent: it is made anew.
 * @param silentAfter milliseconds
 * @returns a function that ends it
 */
export function startArchiving(
  redisUrl: string,
  mailstore: MailStore,
  log: Logger,
  { silentAfter = 10_000 } = {},
): () => Promise<void> {
  const redis = patientRedis(redisUrl, { socketTimeout: silentAfter });
  const tail = journalTail(redis);
  let stopping = false;
  const loop = async () => {
    while (!stopping) {
      try {
        const cursor = mailstore.cursor();
        const entries = await tail.after(cursor, most, 500);
        const last = entries.at(-1);
        if (!last) {
          // What was kept for somebody who follows the journal, and has been read.
          if ((await tail.length()) > 0) await tail.trim(cursor);
          continue;
        }
        mailstore.archive(entries);
        await tail.trim(last.seq);
        if (entries.length < most) await sleep(pause);
      } catch (error) {
        if (stopping) return;
        log.warn({ err: error }, "archiving the journal failed, trying again");
        await sleep(1_000);
      }
    }
  };
  const ended = loop();
  return async () => {
    stopping = true;
    await Promise.race([ended, sleep(2_000, undefined, { ref: false })]);
    redis.disconnect();
  };
}
