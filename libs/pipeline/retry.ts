/** When a failed job is tried again. */
export interface RetryPolicy {
  /** Attempts in all, the first included. */
  attempts: number;
  /** Milliseconds before the second attempt; doubles with every further one. */
  firstDelay: number;
  /** Longest delay in milliseconds. */
  maxDelay: number;
  /** Share of the delay that is left to chance, 0 to 1, so that a crowd of retries spreads out. */
  jitter: number;
}

export const defaultRetry: RetryPolicy = {
  attempts: 10,
  firstDelay: 1_000,
  maxDelay: 3_600_000,
  jitter: 0.5,
};

/**
 * Milliseconds to wait after attempt `attempt` (from 1) has failed, or undefined when it was the last one.
 * @param random a number from 0 to 1
 */
export function retryDelay(policy: RetryPolicy, attempt: number, random = Math.random()): number | undefined {
  if (attempt >= policy.attempts) return undefined;
  const full = Math.min(policy.firstDelay * 2 ** (attempt - 1), policy.maxDelay);
  return Math.round(full * (1 - policy.jitter * random));
}
