import { groupedKey, jobKey } from "./keys.ts";
import type { Pipeline } from "./open-pipeline.ts";

/** Entries read at once. */
const page = 1_000;

/**
 * Makes what removes the entries of groups whose job is gone: its process could not say so any more when it ended. An entry
 * is older than its job, so a group goes only when it was without one the time before as well.
 *
 * @returns a function that looks at all groups once
 */
export function groupSweep({
  redis,
  subscriptions,
  queues,
}: Pick<Pipeline, "redis" | "subscriptions" | "queues">): () => Promise<void> {
  let before = new Set<string>();

  const jobless = async (worker: string): Promise<Map<string, string[]>> => {
    const units = new Map<string, string[]>();
    for (let cursor = "0"; ; ) {
      const [next, fields] = await redis.hscan(groupedKey(worker), cursor, "COUNT", page);
      for (let at = 0; at < fields.length; at += 2) {
        const [unit, group] = fields.slice(at, at + 2) as [string, string];
        units.set(group, [...(units.get(group) ?? []), unit]);
      }
      if (next === "0") break;
      cursor = next;
    }
    const groups = [...units.keys()];
    const found = await Promise.all(groups.map((group) => redis.exists(jobKey(worker, group))));
    for (const [at, group] of groups.entries()) if (found[at] === 1) units.delete(group);
    return units;
  };

  return async () => {
    const now = new Set<string>();
    for (const { worker } of subscriptions.all()) {
      for (const [group, units] of await jobless(worker)) {
        if (before.has(group)) await queues.groups.forget(worker, group, units);
        else now.add(group);
      }
    }
    before = now;
  };
}
