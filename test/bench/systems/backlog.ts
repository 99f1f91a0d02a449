import { setTimeout as sleep } from "node:timers/promises";
import { patientRedis } from "@millrace/service";

/**
 * Takes out of a Redis what rounds leave there that no worker works off, and has it rewrite its log: in production the
 * workers keep both small, and here a round would pay for those before it.
 */
export async function backlogOf(url: string): Promise<{ clear(): Promise<void>; close(): void }> {
  const redis = patientRedis(url);
  const standing = new Set(await redis.keys("*"));
  const quiet = async () => {
    while (/aof_rewrite_(in_progress|scheduled):1/.test(await redis.info("persistence"))) await sleep(20);
  };
  return {
    async clear() {
      const left = (await redis.keys("*")).filter((key) => !standing.has(key));
      while (left.length > 0) await redis.unlink(left.splice(-1_000));
      await quiet();
      await redis.bgrewriteaof();
      await quiet();
    },
    close: () => redis.disconnect(),
  };
}
