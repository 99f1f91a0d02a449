import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import { z } from "zod";
import { subscriptionsKey } from "./keys.ts";

/** A worker's durable claim on events: kept in Redis, filled while the worker is down. */
export const subscriptionSchema = z.object({
  v: z.literal(1),
  worker: z.string().min(1),
  events: z.array(z.string().min(1)).min(1),
  /** Milliseconds since the epoch of the first registration. */
  since: z.number(),
});
export type Subscription = z.infer<typeof subscriptionSchema>;

/** Milliseconds between two looks at the subscriptions. */
const refreshEvery = 500;

/** The subscriptions as this process sees them, at most half a second old. */
export interface Subscriptions {
  /** Names of the workers that subscribed to an event. */
  to(event: string): readonly string[];
  all(): readonly Subscription[];
  /** Milliseconds since they were last read. */
  age(): number;
  /**
   * Records a worker's subscription. The first time, it resolves when every process has had the time to see
   * it: from then on every matching event waits for the worker.
   */
  register(worker: string, events: readonly string[]): Promise<void>;
  close(): void;
}

/** Reads the subscriptions, and goes on reading them. A Redis that is away leaves them as they were. */
export async function openSubscriptions(redis: Redis): Promise<Subscriptions> {
  let all: Subscription[] = [];
  let byEvent = new Map<string, string[]>();
  let readAt = Number.NEGATIVE_INFINITY;
  let closed = false;

  const read = async () => {
    const found = await redis.hgetall(subscriptionsKey);
    all = Object.values(found).map((json) => subscriptionSchema.parse(JSON.parse(json)));
    byEvent = new Map();
    for (const { worker, events } of all) {
      for (const event of events) byEvent.set(event, [...(byEvent.get(event) ?? []), worker]);
    }
    readAt = performance.now();
  };
  const keepReading = async () => {
    while (!closed) {
      await sleep(refreshEvery, undefined, { ref: false });
      if (!closed) await read().catch(() => {});
    }
  };

  await read().catch(() => {});
  void keepReading();
  return {
    to: (event) => byEvent.get(event) ?? [],
    all: () => all,
    age: () => performance.now() - readAt,
    async register(worker, events) {
      const known = await redis.hget(subscriptionsKey, worker);
      const before = known === null ? undefined : subscriptionSchema.parse(JSON.parse(known));
      const subscription: Subscription = {
        v: 1,
        worker,
        events: [...events],
        since: before?.since ?? Date.now(),
      };
      await redis.hset(subscriptionsKey, worker, JSON.stringify(subscription));
      await read();
      const added = events.filter((event) => !before?.events.includes(event));
      if (added.length > 0) await sleep(2 * refreshEvery);
    },
    close() {
      closed = true;
    },
  };
}
