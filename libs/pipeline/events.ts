import { headerEditsSchema, messageIdSchema } from "@millrace/mail";
import { z } from "zod";

/** What a delivery event says of its target. */
const delivery = {
  /** Id of the target (`webhook-89ab…`); see `targetsFor` in @millrace/mail. */
  target: z.string(),
  label: z.string(),
  recipients: z.array(z.string()),
};
const attempted = {
  ...delivery,
  attempt: z.number().int(),
  /** Milliseconds the attempt took. */
  ms: z.number(),
  /** The far side's words, or our own reason. */
  reply: z.string(),
};

/** The built-in events and what each carries. A worker's own events stand beside them under `emits`. */
export const events = {
  /** Accepted with 250: body and manifest are durable in the spool. */
  "message.received": z.object({}),
  /** The parsed message is in the spool. `unparsed`: the parser gave up, and the message goes on all the same. */
  "message.parsed": z.object({ unparsed: z.boolean(), defects: z.array(z.string()) }),
  /** Raw and parsed message are durable in the mail store; the spool has let the body go. */
  "message.stored": z.object({}),
  /**
   * The message may be delivered, with these edits of its header: what `deliver` waits for where the configuration says
   * `delivery: { after: "message.cleared" }`. One worker alone clears a message; those before it pass their edits on.
   */
  "message.cleared": z.object({ header: headerEditsSchema.optional() }),
  /** The message is held back until somebody releases or discards it; released, it is delivered with these edits. */
  "message.quarantined": z.object({
    /** Who holds it back: a worker's name, or the scanner's behind it. */
    by: z.string(),
    reason: z.string(),
    verdicts: z.record(z.string(), z.unknown()).optional(),
    header: headerEditsSchema.optional(),
  }),
  /** A message with several targets: one such event for each. */
  "delivery.requested": z.object({ ...delivery, header: headerEditsSchema.optional() }),
  "delivery.succeeded": z.object(attempted),
  "delivery.deferred": z.object({
    ...attempted,
    code: z.string().optional(),
    nextAttemptAt: z.number().optional(),
  }),
  "delivery.failed": z.object({ ...attempted, code: z.string().optional() }),
  /** Failed for good, and its sender is told so. `dsn`: id of the message that tells it. */
  "delivery.bounced": z.object({ ...attempted, dsn: messageIdSchema }),
} as const satisfies Record<string, z.ZodType>;

export type EventName = keyof typeof events;
export type EventData<E extends EventName> = z.infer<(typeof events)[E]>;
