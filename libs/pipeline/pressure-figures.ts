import { shards, spooledKey } from "@millrace/spool";
import type { Redis } from "ioredis";
import { type DiskReport, diskReports } from "./disk-report.ts";
import { diskKey, diskNames } from "./keys.ts";

/** Redis's memory in octets. */
export interface MemoryFigures {
  used: number;
  /** Its `maxmemory`; where that is 0, the memory of its machine. */
  limit: number;
  /** Whether `limit` is its `maxmemory`. */
  limited: boolean;
}

/** What decides whether there is room for new mail. */
export interface PressureFigures {
  memory: MemoryFigures;
  /** Accepted messages whose body is still in the spool. */
  backlog: number;
  disks: DiskReport[];
}

/** Reads them: four short commands that leave together. */
export async function readFigures(redis: Redis): Promise<PressureFigures> {
  const [memory, disks, ...backlogs] = await Promise.all([
    readMemory(redis),
    Promise.all(diskNames.map((name) => redis.get(diskKey(name)))),
    ...shards.map((shard) => redis.zcard(spooledKey(shard))),
  ]);
  return { memory, disks: diskReports(disks), backlog: backlogs.reduce((sum, count) => sum + count, 0) };
}

/** @throws when Redis does not tell */
export async function readMemory(redis: Redis): Promise<MemoryFigures> {
  const info = await redis.info("memory");
  const figure = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(info)?.[1] ?? 0);
  const maxmemory = figure("maxmemory");
  return {
    used: figure("used_memory"),
    limit: maxmemory || figure("total_system_memory") || Number.POSITIVE_INFINITY,
    limited: maxmemory > 0,
  };
}
