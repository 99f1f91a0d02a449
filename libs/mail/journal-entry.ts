import { z } from "zod";
import { type MessageId, messageIdSchema } from "./message-id.ts";

/**
 * One fact about one message. `event` is an event's name (`message.received`, `delivery.succeeded`, a worker's
 * own), or one of the pipeline's own: `job.deferred`, `job.dead`.
 */
export const journalEntrySchema = z.object({
  /** Id in the stream it was written to: `<milliseconds>-<number>`, growing. */
  seq: z.string().regex(/^\d+-\d+$/),
  /** Milliseconds since the epoch. */
  at: z.number(),
  message: messageIdSchema,
  event: z.string().min(1),
  /** Who wrote it: a worker's name, or "edge". */
  worker: z.string(),
  /** Attempt of the job it comes from, from 1. */
  attempt: z.number().int().optional(),
  /** Milliseconds the handler took. */
  ms: z.number().optional(),
  /** What the event carries; see the table in `archive`. */
  data: z.record(z.string(), z.unknown()),
});
export interface JournalEntry extends z.infer<typeof journalEntrySchema> {
  message: MessageId;
}

/** The two numbers of a stream id, `<milliseconds>-<number>`. */
export function parseSeq(seq: string): [ms: number, n: number] {
  const [ms, n] = seq.split("-");
  return [Number(ms), Number(n)];
}

/** Order of two stream ids, as numbers. */
export function compareSeq(a: string, b: string): number {
  const [aMs, aN] = parseSeq(a);
  const [bMs, bN] = parseSeq(b);
  return aMs - bMs || aN - bN;
}
