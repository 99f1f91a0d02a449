import { clientKey, userKey } from "@millrace/limits";
import type { Redis } from "ioredis";
import { RateLimiterRedis } from "rate-limiter-flexible";

/** How many failures there may be. */
export interface AttemptLimits {
  perClient: number;
  perUser: number;
  /** Seconds from the first failure on after which they are forgotten. */
  window: number;
}

/** Failed attempts by client address and by user, counted in Redis for all edges together. Each method throws when it does not answer. */
export interface FailedAttempts {
  /** What has failed too often; undefined when another attempt may be made. */
  exceeded(client: string, name: string): Promise<"client" | "user" | undefined>;
  failed(client: string, name: string): Promise<void>;
  /** Forgets the failures of a user. Those of the address stay: whoever has one account may be guessing at others. */
  succeeded(name: string): Promise<void>;
}

export function failedAttempts(redis: Redis, { perClient, perUser, window }: AttemptLimits): FailedAttempts {
  const limiter = (keyPrefix: string, points: number) =>
    new RateLimiterRedis({
      storeClient: redis,
      keyPrefix,
      points,
      duration: window,
      rejectIfRedisNotReady: true,
    });
  const clients = limiter("millrace:auth:client", perClient);
  const users = limiter("millrace:auth:user", perUser);
  return {
    async exceeded(client, name) {
      const [byClient, byUser] = await Promise.all([
        clients.get(clientKey(client)),
        users.get(userKey(name)),
      ]);
      if (countOf(byClient) >= perClient) return "client";
      return countOf(byUser) >= perUser ? "user" : undefined;
    },

    async failed(client, name) {
      await Promise.all([clients.penalty(clientKey(client)), users.penalty(userKey(name))]);
    },

    async succeeded(name) {
      await users.delete(userKey(name));
    },
  };
}

function countOf(found: { consumedPoints: number } | null): number {
  if (found === null) return 0;
  // The library makes this of a reply that is an error; a comparison with it would always allow.
  if (!Number.isFinite(found.consumedPoints)) throw new Error("Redis does not tell the failed attempts");
  return found.consumedPoints;
}
