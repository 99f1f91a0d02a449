import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../support/until.ts";
import type { Kind, Scene } from "../kind.ts";
import type { Random } from "../random.ts";

/** Milliseconds Redis stands still. Up to 40 s, but mostly little more than the 4 s after which it counts as away. */
function standstill(random: Random): number {
  if (random.chance(0.8)) return random.integer(5_000, 8_000);
  return random.chance(0.75) ? random.integer(8_000, 20_000) : random.integer(20_000, 40_000);
}

const stop: Kind = {
  name: "redis-stop",
  about: "Redis stands still (SIGSTOP) for 5 to 40 s, mostly less than 8",
  repeats: true,
  async strike({ site, random, say }) {
    const pid = site.millrace.pidOf("redis");
    const duration = standstill(random);
    say(`Redis stopped for ${duration} ms`);
    process.kill(pid, "SIGSTOP");
    try {
      await sleep(duration);
    } finally {
      process.kill(pid, "SIGCONT");
    }
  },
};

const restart: Kind = {
  name: "redis-restart",
  about: "Redis is told to end (SIGTERM), and started again by `up`",
  repeats: true,
  async strike({ site, say }) {
    const pid = site.millrace.pidOf("redis");
    say("Redis ended");
    process.kill(pid, "SIGTERM");
    await until(() => {
      try {
        return site.millrace.pidOf("redis") !== pid;
      } catch {
        return false;
      }
    });
  },
};

const scriptFlush: Kind = {
  name: "script-flush",
  about: "SCRIPT FLUSH, up to five times within a second",
  repeats: false,
  async strike(scene) {
    const { random, say } = scene;
    const times = random.integer(1, 5);
    await withRedis(scene, async (redis) => {
      for (let i = 0; i < times; i++) {
        await redis.call("SCRIPT", "FLUSH", random.chance(0.5) ? "SYNC" : "ASYNC");
        await sleep(random.integer(0, 200));
      }
    });
    say(`scripts flushed ${times} times`);
  },
};

const maxmemory: Kind = {
  name: "maxmemory",
  about: "Redis has no more memory for 1 to 5 s (maxmemory set to what it uses)",
  repeats: true,
  async strike(scene) {
    const { random, say } = scene;
    await withRedis(scene, async (redis) => {
      const used = Number(/^used_memory:(\d+)/m.exec(await redis.info("memory"))?.[1]);
      const more = random.integer(0, 400_000);
      const duration = random.integer(1_000, 5_000);
      const [, usual] = (await redis.config("GET", "maxmemory")) as [string, string];
      await redis.config("SET", "maxmemory", used + more);
      say(`Redis may take ${more} octets more for ${duration} ms`);
      await sleep(duration);
      await redis.config("SET", "maxmemory", usual);
    });
  },
};

async function withRedis(
  { site }: Scene,
  use: (redis: ReturnType<Scene["site"]["redisClient"]>) => Promise<void>,
): Promise<void> {
  const redis = site.redisClient();
  try {
    await use(redis);
  } finally {
    redis.disconnect();
  }
}

export const redisKinds: readonly Kind[] = [stop, restart, scriptFlush, maxmemory];
