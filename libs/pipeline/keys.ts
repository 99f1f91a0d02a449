import type { MessageId } from "@millrace/mail";
import { shardOf, shards, spoolKeys } from "@millrace/spool";

/** The pipeline's keys of one message; in the message's shard, so that one script may touch them with its body. */
export function ledgerKeys(id: MessageId) {
  const shard = shardOf(id);
  const { manifest, chunks } = spoolKeys(id);
  return { work: workKey(id), ...shardKeys(shard), manifest, chunks };
}

/** Hash of what is still to be done for a message: unit name -> JSON of the unit. */
export function workKey(id: MessageId): string {
  return `millrace:${shardOf(id)}:work:${id}`;
}

export function shardKeys(shard: string) {
  return {
    /** Sorted set of the messages that have not reached their end, by time of acceptance. */
    open: `millrace:${shard}:open`,
    /** Stream of the journal's newest entries, until the store has archived them. */
    journal: `millrace:${shard}:journal`,
  };
}

/** Hash of where a replay of many messages stands. In the shard of the messages, to move on in one step with them. */
export function replayRunKey(run: string): string {
  return `millrace:${shards[0]}:replay:${run}`;
}

/** Hash of worker name -> JSON of its subscription. */
export const subscriptionsKey = "millrace:subscriptions";
/** Held by the one process that reconciles at a time. */
export const reconcilerKey = "millrace:reconciler";

/** BullMQ's prefix of a worker's queue: each queue has a hash tag of its own. */
export function queuePrefix(worker: string): string {
  return `millrace:{${worker}}`;
}

/** The key BullMQ keeps a job under. */
export function jobKey(worker: string, jobId: string): string {
  return `${queuePrefix(worker)}:${worker}:${jobId}`;
}

/** Keys of BullMQ's own that say whether a worker's queue stands still. */
export function queueKeys(worker: string) {
  const base = `${queuePrefix(worker)}:${worker}`;
  return {
    /** List of the ids of jobs that may be taken, the newest first. */
    wait: `${base}:wait`,
    /** Hash with a field `paused` while nobody is to take any. */
    meta: `${base}:meta`,
  };
}

/** The disks somebody must have room on for accepted mail to go on. */
export const diskNames = ["mail", "redis"] as const;
export type DiskName = (typeof diskNames)[number];

/** JSON of the latest report on a disk; gone when nobody reports on it. */
export function diskKey(name: DiskName): string {
  return `millrace:disk:${name}`;
}

/** JSON of why new mail is refused, kept there by the edges that refuse it; gone when none does. */
export const refusingKey = "millrace:refusing";
