import { lifetime, type RetryPolicy } from "@millrace/mail";
import { z } from "zod";

/** How long past its policy's lifetime a delivery may still be suspended: as long again, within these milliseconds. */
const [shortestGrace, longestGrace] = [5_000, 20 * 60_000];

/** Of a delivery that its target's trouble has put off. */
export const suspensionSchema = z.object({
  /** Milliseconds of its grace that are spent. */
  overtime: z.number(),
  /** It was put off past its time, to when its target would be tried again. */
  outwaited: z.boolean(),
});
export type Suspension = z.output<typeof suspensionSchema>;

/** Durations in milliseconds. */
interface Trouble {
  /** Since the delivery was asked for. */
  age: number;
  /** Until it would come back: not before `coolsFor` is over. */
  wanted: number;
  /** Until anything is tried at its target. */
  coolsFor: number;
}

/**
 * When a suspended delivery comes back, or undefined when it is given up.
 *
 * A suspension spends no attempt, and so ends by time alone: with the policy's lifetime and a grace. The grace is
 * counted in what it has waited, not by the clock: after a jump of that, or a week without power, nobody has tried it
 * yet. And where a target is left alone for longer than what is left, the delivery waits that out once: a short schedule
 * would be over meanwhile, though all is well by then, and whoever replays a backlog does so when he knows that it is.
 */
export function suspensionDelay(
  policy: RetryPolicy,
  { age, wanted, coolsFor }: Trouble,
  { overtime, outwaited }: Suspension,
): ({ delay: number } & Suspension) | undefined {
  const whole = lifetime(policy);
  const grace = Math.min(Math.max(whole, shortestGrace), longestGrace);
  const inTime = age < whole;
  const left = inTime ? whole - age : grace - overtime;
  if (left <= 0) return undefined;
  if (coolsFor > left)
    return outwaited && !inTime ? undefined : { delay: coolsFor, overtime, outwaited: true };
  const delay = Math.min(wanted, left);
  return { delay, overtime: inTime ? overtime : overtime + delay, outwaited };
}
