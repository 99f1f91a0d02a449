import { monotonicFactory } from "ulid";
import { z } from "zod";

const next = monotonicFactory();

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
