import type { Redis } from "ioredis";

/** Seconds after which the places of an edge that has died are free; and thrice as often as that they are renewed. */
const leaseSeconds = 15;

/**
 * KEYS: the places of one client, id -> when it ends, a sorted set. ARGV: seconds of a lease, places at most, id.
 * Time is Redis's own, since the edges' clocks may differ; an end further off than a lease is from before that clock
 * was set back.
 */
const takeScript = `
  local now = tonumber(redis.call('time')[1])
  local lease = tonumber(ARGV[1])
  redis.call('zremrangebyscore', KEYS[1], '-inf', now)
  redis.call('zremrangebyscore', KEYS[1], '(' .. now + lease, '+inf')
  if redis.call('zcard', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
  redis.call('zadd', KEYS[1], now + lease, ARGV[3])
  redis.call('expire', KEYS[1], lease)
  return 1
`;

/** KEYS: as above. ARGV: seconds of a lease, ids. */
const renewScript = `
  local now = tonumber(redis.call('time')[1])
  for i = 2, #ARGV do redis.call('zadd', KEYS[1], now + ARGV[1], ARGV[i]) end
  redis.call('expire', KEYS[1], ARGV[1])
`;

interface PlaceCommands {
  takePlace(key: string, lease: number, max: number, id: string): Promise<0 | 1>;
  renewPlaces(key: string, lease: number, ...ids: string[]): Promise<null>;
}

/**
 * Places that are held for as long as something lasts, so many for each key, at all edges together. Each is an entry
 * with an end of its own, which its holder puts off as long as it lives: a number that is counted up and down would stay
 * too high for ever after one that is killed, or one "down" that Redis did not hear. (rate-limiter-flexible has nothing
 * of the kind; redis-semaphore does the same by the clock of each process, and with a timer for each holder.)
 */
export interface Places {
  /**
   * Takes a place; false when there is none. When Redis does not answer, the place is held all the same, and Redis is
   * told of it as soon as it answers again.
   * @throws Error when Redis does not answer
   */
  take(key: string, id: string): Promise<boolean>;
  /** Gives it back. One whose return Redis does not hear of is free when its lease is over. */
  release(key: string, id: string): void;
  /** Gives everything back. */
  close(): Promise<void>;
}

export function openPlaces(redis: Redis, name: string, max: number, lease = leaseSeconds): Places {
  redis.defineCommand("takePlace", { numberOfKeys: 1, lua: takeScript });
  redis.defineCommand("renewPlaces", { numberOfKeys: 1, lua: renewScript });
  const scripted = redis as Redis & PlaceCommands;
  const keyOf = (key: string) => `millrace:limits:${name}:${key}`;
  const held = new Map<string, Set<string>>();
  const hold = (key: string, id: string) => {
    const ids = held.get(key);
    if (ids) ids.add(id);
    else held.set(key, new Set([id]));
  };
  const renewal = setInterval(
    () => {
      for (const [key, ids] of held) scripted.renewPlaces(keyOf(key), lease, ...ids).catch(() => {});
    },
    (lease * 1_000) / 3,
  ).unref();

  return {
    async take(key, id) {
      try {
        if ((await scripted.takePlace(keyOf(key), lease, max, id)) === 0) return false;
      } catch (error) {
        hold(key, id);
        throw error;
      }
      hold(key, id);
      return true;
    },

    release(key, id) {
      const ids = held.get(key);
      if (!ids?.delete(id)) return;
      if (ids.size === 0) held.delete(key);
      redis.zrem(keyOf(key), id).catch(() => {});
    },

    async close() {
      clearInterval(renewal);
      const returned = [...held].map(([key, ids]) => redis.zrem(keyOf(key), ...ids).catch(() => {}));
      held.clear();
      await Promise.all(returned);
    },
  };
}
