import { redisLedger } from "@millrace/pipeline";
import type { Site } from "./site.ts";

/** What the installation's own books say against it; empty when they are in order. */
export async function auditProblems(site: Site): Promise<string[]> {
  const redis = site.redisClient();
  try {
    const open = await redisLedger(redis).openCount();
    return open === 0 ? [] : [`the ledger has ${open} messages open`];
  } catch (error) {
    return [`the ledger could not be asked: ${(error as Error).message}`];
  } finally {
    redis.disconnect();
  }
}
