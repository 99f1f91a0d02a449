import { lifetime, type RetryPolicy } from "@millrace/mail";

/** How long past its policy's lifetime a delivery may still be suspended: as long again, within these milliseconds. */
const [shortestGrace, longestGrace] = [5_000, 20 * 60_000];

/** How far a delivery has come that its target's trouble puts off. Durations in milliseconds. */
export interface Suspension {
  /** Since it was asked for. */
  age: number;
  /** Until it would come back. */
  wanted: number;
  /** Until anything is tried at its target. */
  coolsFor: number;
  /** For which it was suspended when its policy's lifetime was over already. */
  overtime: number;
}

/**
 * Milliseconds until a suspended delivery comes back, or undefined when it is given up.
 *
 * A suspension spends no attempt, and so ends by time alone: with the policy's lifetime and a grace. It never comes
 * back before its target is tried again: a short schedule would be over meanwhile, though all is well by then, and
 * whoever replays a backlog does so when he knows that it is. And the grace is counted in what it has waited, not by the
 * clock: after a jump of that, or a week without power, nobody has tried it yet.
 */
export function suspensionDelay(
  policy: RetryPolicy,
  { age, wanted, coolsFor, overtime }: Suspension,
): number | undefined {
  const whole = lifetime(policy);
  const grace = Math.min(Math.max(whole, shortestGrace), longestGrace);
  const left = age < whole ? whole - age : grace - overtime;
  return left > 0 ? Math.max(Math.min(wanted, left), coolsFor) : undefined;
}
