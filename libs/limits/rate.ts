import type { Redis } from "ioredis";
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";

/** How often something may happen: so many times within so many seconds of the first. */
export interface Rate {
  times: number;
  seconds: number;
}

/** How often something has happened for each key, at all edges together. */
export interface RateCount {
  /** Counts once more; true when that is too often. @throws Error when Redis does not answer */
  count(key: string): Promise<boolean>;
  /** Takes one back, if Redis hears it. */
  giveBack(key: string): void;
}

/**
 * Counts in Redis. What came too often is known here until its time is over, so that who goes on and on costs no more
 * round trips. Refused attempts prolong nothing.
 */
export function rateCount(redis: Redis, name: string, { times, seconds }: Rate): RateCount {
  const limiter = new RateLimiterRedis({
    storeClient: redis,
    keyPrefix: `millrace:limits:${name}`,
    points: times,
    duration: seconds,
    inMemoryBlockOnConsumed: times + 1,
    rejectIfRedisNotReady: true,
  });
  return {
    async count(key) {
      try {
        await limiter.consume(key);
        return false;
      } catch (error) {
        // The library throws its figures when there are too many, and Redis's errors as they are.
        if (!(error instanceof RateLimiterRes)) throw error;
        if (error.msBeforeNext <= seconds * 1_000) return true;
        // From before a clock was set back, or the time was made shorter: nobody is to wait that long.
        await limiter.delete(key);
        return false;
      }
    },
    giveBack: (key) => void limiter.reward(key).catch(() => {}),
  };
}
