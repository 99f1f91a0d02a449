import { setTimeout as sleep } from "node:timers/promises";
import type { Writing } from "../writing.ts";

type Redis = Writing["redis"];

/** Milliseconds a rewrite may take: Redis writes some hundred megabytes a second. */
const within = 600_000;

/**
 * Makes what was deleted leave Redis's files: they hold every command since they were last written anew.
 * @returns why they may still hold it; undefined when they do not
 */
export async function rewriteRedisFiles(redis: Redis): Promise<string | undefined> {
  try {
    // A rewrite that is under way may have begun before the last deletion.
    await finished(redis, "aof");
    await redis.bgrewriteaof();
    await finished(redis, "aof");
    const [, save] = (await redis.config("GET", "save")) as string[];
    if (save) {
      await finished(redis, "rdb");
      await redis.bgsave();
      await finished(redis, "rdb");
    }
    // Its list of slow commands holds the beginnings of their arguments.
    await redis.slowlog("RESET");
    return undefined;
  } catch (error) {
    return `Redis did not write its files anew (${(error as Error).message}): run BGREWRITEAOF, and BGSAVE where there are snapshots`;
  }
}

async function finished(redis: Redis, what: "aof" | "rdb"): Promise<void> {
  const [running, status] =
    what === "aof"
      ? [/aof_rewrite_(in_progress|scheduled):1/, /aof_last_bgrewrite_status:(\w+)/]
      : [/rdb_bgsave_in_progress:1/, /rdb_last_bgsave_status:(\w+)/];
  for (const deadline = Date.now() + within; ; ) {
    const info = await redis.info("persistence");
    if (!running.test(info)) {
      const outcome = status.exec(info)?.[1];
      if (outcome !== "ok") throw new Error(`its last attempt ended with ${outcome}`);
      return;
    }
    if (Date.now() > deadline) throw new Error(`it was not done within ${within / 1_000} s`);
    await sleep(100);
  }
}
