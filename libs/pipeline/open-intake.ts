import { setTimeout as sleep } from "node:timers/promises";
import type { Manifest } from "@millrace/mail";
import { durabilityProblems, failFastRedis, type Logger, StartError } from "@millrace/service";
import { type Draft, redisSpool, SpoolFull } from "@millrace/spool";
import { ReplyError } from "ioredis";
import type { Intake } from "./intake.ts";
import { openingCommands } from "./ledger.ts";
import { watchPressure } from "./pressure.ts";
import { defaultPressure, type PressureSettings } from "./pressure-marks.ts";
import { firstUnits } from "./publish.ts";
import { openQueues } from "./queues.ts";
import { openSubscriptions } from "./subscriptions.ts";
import type { Unit } from "./unit.ts";

/** Milliseconds to wait for a lost connection before the second, last try at a commit. */
const reconnectWithin = 2_000;
/** A Redis that has not answered for this long, in milliseconds, is away, whatever its connection says. */
const silentAfter = 4_000;

/**
 * Opens the intake: the edge's own client, which fails fast.
 * @param settings how full is too full
 * @throws StartError when Redis cannot be reached, or would not keep what it has acknowledged
 */
export async function openIntake(
  redisUrl: string,
  log: Logger,
  settings: PressureSettings = defaultPressure,
): Promise<Intake> {
  const redis = failFastRedis(redisUrl);
  const pressure = watchPressure(redis, settings, log);
  let undurable: string | undefined = "Redis has not been checked yet";
  const check = async () => {
    // Looked at together: a Redis that is back must not be taken for an empty one until the next look.
    const [problems] = await Promise.all([durabilityProblems(redis), pressure.look().catch(() => {})]);
    undurable = problems[0];
    if (undurable) log.error({ problems }, "refusing mail");
  };
  // Again at every connection: behind the same address there may be another Redis than before.
  redis.on("ready", () => {
    undurable = "Redis is being checked";
    check().catch((error: Error) => {
      undurable = `Redis could not be checked: ${error.message}`;
    });
  });
  await ready(5_000).catch(() => {
    pressure.close();
    redis.disconnect();
    throw new StartError(
      "REDIS_URL: no Redis answers there; start it, correct REDIS_URL, or leave it out and run `millrace up`",
    );
  });
  await check().catch(() => {});
  if (undurable) {
    pressure.close();
    redis.disconnect();
    throw new StartError(undurable);
  }

  const spool = redisSpool(redis);
  const queues = openQueues(redis);
  const subscriptions = await openSubscriptions(redis);

  async function ready(within: number): Promise<void> {
    if (redis.status === "ready") return;
    const controller = new AbortController();
    try {
      await Promise.race([
        new Promise<void>((resolve) => redis.once("ready", resolve)),
        sleep(within, undefined, { signal: controller.signal }).then(() => {
          throw new Error(`no connection to Redis within ${within} ms`);
        }),
      ]);
    } finally {
      controller.abort();
    }
  }

  const commit = async (draft: Draft, manifest: Manifest, units: Map<string, Unit>): Promise<void> => {
    const { envelope, size } = manifest;
    const { from, recipients, client, tags } = envelope;
    const commands = openingCommands(manifest, units, {
      at: manifest.receivedAt,
      event: "message.received",
      worker: "edge",
      data: { from, recipients, client: client.ip, size, ...(tags ? { tags } : {}) },
    });
    try {
      await draft.commit(manifest, commands);
    } catch (error) {
      // A reply is an answer: it was not done. Anything else says nothing about what Redis did, and a second
      // commit under the same id is answered like the first.
      if (error instanceof ReplyError || error instanceof SpoolFull) {
        // And so its chunks are nobody's: where Redis is full, they must not wait to expire.
        await draft.abort();
        throw error;
      }
      log.warn({ message: manifest.id, err: error }, "commit unclear, asking again");
      await ready(reconnectWithin);
      await draft.commit(manifest, commands);
    }
  };

  const away = (): string | undefined => {
    if (redis.status !== "ready") return "Redis is not connected";
    if (undurable) return undurable;
    if (subscriptions.age() > silentAfter) return "Redis does not answer";
    // Accepting now would open no work for anybody: nobody would ever look at the message.
    if (subscriptions.to("message.received").length === 0)
      return "no worker has subscribed to message.received";
    return undefined;
  };

  return {
    unavailable(message = "new") {
      const reason = away();
      if (reason) return { why: "away", reason };
      const full = message === "new" ? pressure.full() : pressure.exhausted();
      return full === undefined ? undefined : { why: "full", reason: full };
    },

    draft(id) {
      const draft = spool.draft(id);
      return {
        id,
        write(octets) {
          pressure.wrote(octets.length);
          return draft.write(octets);
        },
        commit(manifest, alongside) {
          pressure.accepted();
          return draft.commit(manifest, alongside);
        },
        abort: () => draft.abort(),
      };
    },

    async accept(draft, manifest) {
      const units = firstUnits({ subscriptions }, manifest);
      if (units.size === 0) throw new Error("no worker has subscribed to message.received");
      await commit(draft, manifest, units);
      // The message is accepted, whatever becomes of the wake-up: it is tried until it works, and what this process
      // does not live to do the reconciler does. Waiting here would only make the client wait for a round trip more.
      for (const [name, unit] of units)
        void queues.wake({ message: manifest.id, unit: name }, { unit, manifest });
    },

    async close() {
      pressure.close();
      subscriptions.close();
      await Promise.race([queues.close(), sleep(3_000, undefined, { ref: false })]);
      redis.disconnect();
    },
  };
}
