import { type MessageId, messageIdSchema } from "@millrace/mail";
import { z } from "zod";

/**
 * One piece of work for one message: a worker is to handle an event. Its name, `<worker>/<event>[/<key>]`, is
 * unique within the message and the same however often it is published, which is what makes publishing
 * idempotent. The unit, not the BullMQ job, is the truth.
 */
export const unitSchema = z.object({
  v: z.literal(1),
  event: z.string().min(1),
  /** Milliseconds since the epoch at which the event was recorded, or replayed: a schedule of retries begins there. */
  at: z.number(),
  data: z.record(z.string(), z.unknown()),
  /** Attempts that have failed. */
  attempts: z.number().int().default(0),
  /** Trials that their process did not survive, the one under way included; see `Trials`. */
  trials: z.number().int().optional(),
  /** Set when the unit is a dead letter of a message whose body is still in the spool. */
  dead: z.boolean().optional(),
});
export type Unit = z.infer<typeof unitSchema>;

/** What a BullMQ job carries: which unit to look at, nothing more. */
export const jobDataSchema = z.object({ v: z.literal(1), message: messageIdSchema, unit: z.string().min(3) });
export type JobData = z.infer<typeof jobDataSchema>;

/** A unit's address. */
export interface UnitRef {
  message: MessageId;
  unit: string;
}

export function unitName(worker: string, event: string, key?: string): string {
  return key === undefined ? `${worker}/${event}` : `${worker}/${event}/${key}`;
}

export function workerOf(unit: string): string {
  return unit.slice(0, unit.indexOf("/"));
}

/** BullMQ refuses ":" and all-digit ids; neither occurs here. */
export function jobIdOf(ref: UnitRef): string {
  return `${ref.message}/${ref.unit}`;
}
