import { type BouncedRecipient, headerEditsSchema } from "@millrace/mail";
import { z } from "zod";
import { suspensionSchema } from "./suspension-delay.ts";
import type { RecipientOutcome } from "./transport.ts";

const notDelivered = z.object({
  recipient: z.string(),
  reply: z.string(),
  code: z.string().optional(),
  status: z.string().optional(),
  permanent: z.boolean().default(true),
});

/** What a job of one target carries. */
export const taskSchema = z.object({
  target: z.string(),
  label: z.string(),
  /** Whom it is still for. */
  recipients: z.array(z.string()).min(1),
  /** Whom it has already failed for good. */
  failed: z.array(notDelivered).default([]),
  /** The last words about each recipient who has not got it: what a DSN tells. */
  said: z.array(notDelivered).default([]),
  /** Edits of the header that the message was cleared with. */
  header: headerEditsSchema.optional(),
  /** How it was put off, since it was last tried, because its target was in trouble. */
  suspended: suspensionSchema
    .extend({
      /** When the delivery was asked for that this is about: what is replayed begins anew. */
      askedAt: z.number(),
      times: z.number().int(),
    })
    .optional()
    // Of another version's making: no reason to keep a message.
    .catch(undefined),
});
export type Task = z.output<typeof taskSchema>;

/** An outcome as a task keeps it. */
export function lastWords({ recipient, reply, code, status, result }: RecipientOutcome): BouncedRecipient {
  return { recipient, reply, code, status, permanent: result === "failed" };
}
