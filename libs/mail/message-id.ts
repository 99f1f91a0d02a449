import { createHash, randomFillSync } from "node:crypto";
import { encodeTime, monotonicFactory } from "ulid";
import { z } from "zod";

// ulid asks for sixteen numbers an id, and its own source would ask the system for each of them.
const pool = new Uint8Array(4_096);
let used = pool.length;
const next = monotonicFactory(() => {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  return (pool[used++] as number) / 256;
});

/**
 * The id of one SMTP transaction: a ULID (48 bits of milliseconds, 80 of chance) in lower case. Sorts by
 * time of acceptance; stands in the 250 reply, in every log line and every event of the message.
 */
export type MessageId = string;

/** Shape of a {@link MessageId}. Also what keeps an id from a command line out of file names and Redis keys. */
export const messageIdSchema = z.string().regex(/^[0-7][0-9a-hjkmnp-tv-z]{25}$/, "not a message id");

/** A new id, greater than every id this process made before. */
export function newMessageId(now = Date.now()): MessageId {
  return next(now).toLowerCase();
}

const digits = "0123456789abcdefghjkmnpqrstvwxyz";

/**
 * The id of a message that we make ourselves because of another: the same whenever it is made again for the same
 * reason, so that it exists once.
 * @param at milliseconds since the epoch, the id's time; part of the reason
 * @param reason what sets it apart, such as the other message's id
 */
export function derivedMessageId(at: number, ...reason: string[]): MessageId {
  const digest = createHash("sha256").update(JSON.stringify(reason)).digest();
  const chance = Array.from({ length: 16 }, (_, index) => digits[(digest[index] as number) & 31]);
  return encodeTime(at).toLowerCase() + chance.join("");
}
