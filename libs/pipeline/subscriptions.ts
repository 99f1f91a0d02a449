import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import { z } from "zod";
import { subscriptionsKey } from "./keys.ts";
import { whereSchema } from "./where.ts";
import type { WorkerDefinition } from "./worker.ts";
import { runningProcesses } from "./worker-processes.ts";

/** A worker's durable claim on events: kept in Redis, filled while the worker is down. */
export const subscriptionSchema = z.object({
  v: z.literal(1),
  worker: z.string().min(1),
  events: z.array(z.string().min(1)).min(1),
  /** Which messages it wants; all of them when there is none. */
  where: whereSchema.optional(),
  /** Milliseconds since the epoch of the first registration. */
  since: z.number(),
  /** The worker's own version, as it last registered. */
  version: z.string().optional(),
  /** Fingerprints of what it was before, the newest last: see `register`. */
  before: z.array(z.string()).optional(),
});
export type Subscription = z.infer<typeof subscriptionSchema>;

/** What a worker claims. */
export type Claim = Pick<WorkerDefinition, "name" | "on"> &
  Partial<Pick<WorkerDefinition, "where" | "version">>;

/** What a registration did. */
export interface Registration {
  /** "kept": a newer version of the worker is running, and its subscription stands. */
  outcome: "new" | "unchanged" | "changed" | "kept";
  /** For people: what is different now, `on: + message.stored`. */
  changes: string[];
}

/** Milliseconds between two looks at the subscriptions. */
const refreshEvery = 500;
/** Earlier forms of a subscription that are remembered. */
const mostRemembered = 20;

/** KEYS subscriptions; ARGV worker expected-json-or-empty json */
const replaceScript = `
local current = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if current ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1`;

interface SubscriptionCommands {
  subscriptionReplace(...args: string[]): Promise<number>;
}

/** The subscriptions as this process sees them, at most half a second old. */
export interface Subscriptions {
  /** Those to an event. */
  to(event: string): readonly Subscription[];
  of(worker: string): Subscription | undefined;
  all(): readonly Subscription[];
  /** Milliseconds since they were last read. */
  age(): number;
  /**
   * Records a worker's subscription. Where that changes something, it resolves when every process has had the time to
   * see it: from then on every matching event waits for the worker. In a rolling deployment an old version that starts
   * again does not undo what a newer one, still running, has registered.
   */
  register(claim: Claim): Promise<Registration>;
  /** Ends a worker's claim; resolves when every process has had the time to see it. False when there was none. */
  remove(worker: string): Promise<boolean>;
  close(): void;
}

/** Reads the subscriptions, and goes on reading them. A Redis that is away leaves them as they were. */
export async function openSubscriptions(redis: Redis): Promise<Subscriptions> {
  redis.defineCommand("subscriptionReplace", { numberOfKeys: 1, lua: replaceScript });
  const scripted = redis as Redis & SubscriptionCommands;
  let all: Subscription[] = [];
  let byEvent = new Map<string, Subscription[]>();
  let readAt = Number.NEGATIVE_INFINITY;
  let closed = false;

  const read = async () => {
    const found = await redis.hgetall(subscriptionsKey);
    all = Object.values(found).map((json) => subscriptionSchema.parse(JSON.parse(json)));
    byEvent = new Map();
    for (const subscription of all) {
      for (const event of subscription.events)
        byEvent.set(event, [...(byEvent.get(event) ?? []), subscription]);
    }
    readAt = performance.now();
  };
  const keepReading = async () => {
    while (!closed) {
      await sleep(refreshEvery, undefined, { ref: false });
      if (!closed) await read().catch(() => {});
    }
  };
  const seenByAll = async () => {
    await read();
    await sleep(2 * refreshEvery);
  };

  await read().catch(() => {});
  void keepReading();
  return {
    to: (event) => byEvent.get(event) ?? [],
    of: (name) => all.find(({ worker }) => worker === name),
    all: () => all,
    age: () => performance.now() - readAt,
    async register(claim) {
      for (;;) {
        const json = (await redis.hget(subscriptionsKey, claim.name)) ?? "";
        const before = json === "" ? undefined : subscriptionSchema.parse(JSON.parse(json));
        const subscription: Subscription = {
          v: 1,
          worker: claim.name,
          events: [...claim.on],
          ...(claim.where ? { where: claim.where } : {}),
          since: before?.since ?? Date.now(),
          ...(claim.version === undefined ? {} : { version: claim.version }),
          before: before?.before ?? [],
        };
        const changes = before ? difference(before, subscription) : [];
        if (before && changes.length > 0) {
          if (before.before?.includes(fingerprint(subscription)) && (await isRunning(before))) {
            await read();
            return { outcome: "kept", changes };
          }
          subscription.before = [...(before.before ?? []), fingerprint(before)]
            .filter((each) => each !== fingerprint(subscription))
            .slice(-mostRemembered);
        }
        const replaced = await scripted.subscriptionReplace(
          ...[subscriptionsKey, claim.name, json, JSON.stringify(subscription)],
        );
        if (replaced === 0) continue;
        if (before && changes.length === 0) {
          await read();
          return { outcome: "unchanged", changes };
        }
        await seenByAll();
        return { outcome: before ? "changed" : "new", changes };
      }
    },
    async remove(worker) {
      const removed = await redis.hdel(subscriptionsKey, worker);
      await seenByAll();
      return removed === 1;
    },
    close() {
      closed = true;
    },
  };

  async function isRunning(subscription: Subscription): Promise<boolean> {
    const processes = await runningProcesses(redis, subscription.worker);
    return processes.some((each) => each.fingerprint === fingerprint(subscription));
  }
}

/** The same for the same claim: events and filter. */
export function fingerprint({ events, where }: Pick<Subscription, "events" | "where">): string {
  return JSON.stringify([[...events].sort(), where ?? null]);
}

function difference(before: Subscription, after: Subscription): string[] {
  const added = after.events.filter((event) => !before.events.includes(event));
  const gone = before.events.filter((event) => !after.events.includes(event));
  const words = [...added.map((event) => `on: + ${event}`), ...gone.map((event) => `on: - ${event}`)];
  const [was, is] = [JSON.stringify(before.where ?? null), JSON.stringify(after.where ?? null)];
  if (was !== is) words.push(`where: ${was === "null" ? "none" : was} -> ${is === "null" ? "none" : is}`);
  return words;
}
