import { setTimeout as sleep } from "node:timers/promises";
import type { Scene } from "../kind.ts";

/** In every third round Redis is rewriting its AOF, up to 60 ms since, when the trouble comes. */
export async function rewriteLog({ site, random, say }: Scene): Promise<void> {
  if (!random.chance(1 / 3)) return;
  const redis = site.redisClient();
  try {
    await redis.bgrewriteaof();
    say("AOF rewrite begun");
    await sleep(random.integer(0, 60));
  } finally {
    redis.disconnect();
  }
}
