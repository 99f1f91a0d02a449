import { type MessageId, manifestSchema, messageIdSchema } from "@millrace/mail";
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
  /** Whether its worker wants the message was not known yet when it was opened. */
  unfiltered: z.boolean().optional(),
  /** Set when the unit is a dead letter of a message whose body is still in the spool. */
  dead: z.boolean().optional(),
});
export type Unit = z.infer<typeof unitSchema>;

const wakingSchema = z.object({
  message: messageIdSchema,
  unit: z.string().min(3),
  fresh: z.object({ unit: unitSchema, manifest: manifestSchema }).optional(),
});
/**
 * Which unit to look at. The ledger is the truth, and whoever takes the job looks there; only its first taker, just after
 * the unit was opened, may go by `fresh` and spare itself the way.
 */
export type Waking = z.infer<typeof wakingSchema>;
/** A unit as it was opened, with its message's manifest. */
export type FreshUnit = NonNullable<Waking["fresh"]>;

/**
 * What a BullMQ job carries: one unit, or a group of units that were opened together. `survivor`: a process that had it
 * in hand, in a group, has died.
 */
export const jobDataSchema = z.discriminatedUnion("v", [
  wakingSchema.extend({ v: z.literal(1), survivor: z.boolean().optional() }),
  z.object({ v: z.literal(2), group: z.array(wakingSchema) }),
]);
export type JobData = z.infer<typeof jobDataSchema>;

/** The units a job is to wake its worker for. */
export function wakingsOf(data: JobData): readonly Waking[] {
  return data.v === 1 ? [data] : data.group;
}

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
