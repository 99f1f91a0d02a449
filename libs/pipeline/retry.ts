import type { GrowingRetry, RetryPolicy } from "@millrace/mail";

/** What a worker has that does not say otherwise: ten attempts, which take about ten minutes. */
export const defaultRetry: GrowingRetry = {
  attempts: 10,
  firstDelay: 1_000,
  maxDelay: 3_600_000,
  jitter: 0.5,
};

/** Milliseconds beyond which nobody is believed who asks to be left alone: a day. */
const longestAsked = 86_400_000;

/** How far a unit of work has come. */
export interface Progress {
  /** Attempts that have failed. */
  attempts: number;
  /** Milliseconds since its event was recorded. */
  age: number;
  /** Milliseconds the far side asked us to wait: it is not tried earlier. */
  asked?: number | undefined;
}

/**
 * Failures before which time alone is no reason to give up: after a clock that jumped, or a week without power, the first
 * one that happens to fail would otherwise be the last.
 */
const fewestAttempts = 3;

/**
 * Milliseconds to wait before the next attempt, or undefined when there is none.
 *
 * A list ends with its last delay, a growing policy after `attempts` or `giveUpAfter`, whichever comes first; the
 * last attempt is made when that time is over, not before. What is suspended has made no attempt, and says itself when
 * it comes back.
 * @param random a number from 0 to 1
 */
export function retryDelay(
  policy: RetryPolicy,
  { attempts, age, asked }: Progress,
  random = Math.random(),
): number | undefined {
  const wanted = Math.min(Math.max(asked ?? 0, 0), longestAsked);
  if ("delays" in policy) {
    const delay = policy.delays[attempts - 1];
    return delay === undefined ? undefined : Math.max(jittered(delay, policy.jitter, random), wanted);
  }
  const left = (policy.giveUpAfter ?? Number.POSITIVE_INFINITY) - age;
  if (attempts >= (policy.attempts ?? Number.POSITIVE_INFINITY)) return undefined;
  if (left <= 0 && attempts >= fewestAttempts) return undefined;
  const full = Math.min(policy.firstDelay * 2 ** (attempts - 1), policy.maxDelay);
  const delay = jittered(full, policy.jitter, random);
  return Math.max(left > 0 ? Math.min(delay, left) : delay, wanted);
}

function jittered(delay: number, jitter: number, random: number): number {
  return Math.round(delay * (1 - jitter * random));
}
