import { z } from "zod";
import { durationOf, durationSchema } from "./duration.ts";

/** Delays that double. */
export interface GrowingRetry {
  /** Milliseconds before the second attempt; doubles with every further one. */
  firstDelay: number;
  /** Longest delay in milliseconds. */
  maxDelay: number;
  /** Share of each delay that is left to chance, 0 to 1, so that a crowd of retries spreads out. */
  jitter: number;
  /** Attempts in all, the first included. Without it only `giveUpAfter` ends them. */
  attempts?: number | undefined;
  /** Milliseconds since the event was recorded after which a failed attempt is the last one. */
  giveUpAfter?: number | undefined;
}

/** One delay after another: as many further attempts as there are delays. */
export interface ListedRetry {
  /** Milliseconds. */
  delays: readonly number[];
  /** As in {@link GrowingRetry}. */
  jitter: number;
}

/** When what has failed is tried again, and when no more. */
export type RetryPolicy = GrowingRetry | ListedRetry;

const growing = z.strictObject({
  first: durationSchema.default(durationOf("10s")),
  longest: durationSchema.default(durationOf("1h")),
  giveUpAfter: durationSchema.default(durationOf("5d")),
});
const listed = z.array(durationSchema).max(100, "at most 100 delays");

/**
 * A policy as a route writes it: a list of delays (`["5s", "5m", "2h"]`), or
 * `{ first: "10s", longest: "1h", giveUpAfter: "5d" }`, each of which may be left out.
 */
export const retrySchema = z.unknown().transform((value, context): RetryPolicy => {
  const isList = Array.isArray(value);
  if (!isList && (typeof value !== "object" || value === null)) {
    const message =
      'a retry schedule is a list of delays, ["5s", "5m", "2h"], or { first: "10s", longest: "1h", giveUpAfter: "5d" }';
    context.issues.push({ code: "custom", message, input: value });
    return z.NEVER;
  }
  const result = isList ? listed.safeParse(value) : growing.safeParse(value);
  if (!result.success) {
    for (const { message, path } of result.error.issues)
      context.issues.push({ code: "custom", message, path, input: value });
    return z.NEVER;
  }
  if (Array.isArray(result.data)) return { delays: result.data, jitter: 0.2 };
  const { first, longest, giveUpAfter } = result.data;
  if (first > longest) {
    const message = "the first delay is longer than the longest: lower `first`, or raise `longest`";
    context.issues.push({ code: "custom", message, path: ["first"], input: value });
    return z.NEVER;
  }
  return { firstDelay: first, maxDelay: longest, jitter: 0.5, giveUpAfter };
});

/** The longest of a policy's delays, in milliseconds; 0 when it has none. */
export function longestDelay(policy: RetryPolicy): number {
  return "delays" in policy ? Math.max(0, ...policy.delays) : policy.maxDelay;
}

/**
 * Milliseconds a policy keeps trying for, attempts themselves not counted: `giveUpAfter`, or all delays together.
 * Infinite when nothing ends it.
 */
export function lifetime(policy: RetryPolicy): number {
  if ("delays" in policy) return policy.delays.reduce((sum, delay) => sum + delay, 0);
  const { firstDelay, maxDelay, attempts, giveUpAfter = Number.POSITIVE_INFINITY } = policy;
  if (attempts === undefined) return giveUpAfter;
  let sum = 0;
  for (let n = 0; n < attempts - 1 && sum < giveUpAfter; n++) sum += Math.min(firstDelay * 2 ** n, maxDelay);
  return Math.min(sum, giveUpAfter);
}
