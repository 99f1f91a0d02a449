import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { JournalEntry, MessageId } from "@millrace/mail";
import { journalTail, type Pipeline } from "@millrace/pipeline/runtime";
import { type Config, patientRedis } from "@millrace/service";

/** Entries read at once, and milliseconds a read waits for the first. */
const most = 1_000;
const patience = 500;

/**
 * Hands over each step of each message as it is recorded, from now on, in order. None is missed, however many there
 * are. Reading blocks its connection, so it has one of its own.
 * @returns a function that ends it
 */
export async function followJournal(
  config: Pick<Config, "redisUrl">,
  step: (entry: JournalEntry) => Promise<void>,
): Promise<() => Promise<void>> {
  const redis = patientRedis(config.redisUrl);
  const tail = journalTail(redis);
  const follower = `dev:${hostname()}:${process.pid}`;
  let from = await tail.last();
  await tail.keepFor(follower, from);
  let stopping = false;
  const loop = async () => {
    while (!stopping) {
      try {
        for (const entry of await tail.after(from, most, patience)) {
          from = entry.seq;
          await step(entry);
        }
        await tail.keepFor(follower, from);
      } catch {
        // Redis is away, and the pipeline says so.
        await sleep(200);
      }
    }
    await tail.release(follower).catch(() => {});
  };
  const ended = loop();
  return async () => {
    stopping = true;
    await Promise.race([ended, sleep(2 * patience, undefined, { ref: false })]);
    redis.disconnect();
  };
}

/** Messages whose subject is kept at hand. */
const remembered = 1_000;

/** The subjects of messages, as far as they are known yet. */
export function subjectsOf({
  spool,
  mailstore,
}: Pick<Pipeline, "spool" | "mailstore">): (id: MessageId) => Promise<string | undefined> {
  const known = new Map<MessageId, string>();
  return async (id) => {
    const found = known.get(id) ?? mailstore.summary(id)?.subject ?? (await spool.parsed(id))?.subject;
    if (found === undefined) return undefined;
    known.set(id, found);
    if (known.size > remembered) known.delete(known.keys().next().value as MessageId);
    return found;
  };
}
