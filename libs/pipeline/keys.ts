import type { MessageId } from "@millrace/mail";
import { shardOf, shards, spoolKeys } from "@millrace/spool";

/** The pipeline's keys of one message; in the message's shard, so that one script may touch them with its body. */
export function ledgerKeys(id: MessageId) {
  const shard = shardOf(id);
  const { manifest, chunks } = spoolKeys(id);
  return { work: workKey(id), ...shardKeys(shard), manifest, chunks, effects: effectsKey(id) };
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
    /** Hash of those who follow the journal: name -> "<milliseconds of its last sign> <seq it has read up to>". */
    followers: `millrace:${shard}:journal:followers`,
  };
}

/**
 * Hash of the effects that workers have begun or done for a message (`ctx.once`): `<worker>\n<key>` -> JSON. In the
 * message's shard, and gone with its work.
 */
export function effectsKey(id: MessageId): string {
  return `millrace:${shardOf(id)}:effects:${id}`;
}

/** Hash of the processes that run a worker: `<host>:<pid>:<number>` -> JSON of their last sign of life. */
export function processesKey(worker: string): string {
  return `millrace:processes:${worker}`;
}

/** Hash of where a replay of many messages stands. In the shard of the messages, to move on in one step with them. */
export function replayRunKey(run: string): string {
  return `millrace:${shards[0]}:replay:${run}`;
}

/** What was last decided about a message that was held back: `<seq> <run>`. For as long as a command may act on an older view. */
export function decisionKey(id: MessageId): string {
  return `millrace:${shardOf(id)}:decision:${id}`;
}

/** Hash of worker name -> JSON of its subscription. */
export const subscriptionsKey = "millrace:subscriptions";
/** Held by the one process that reconciles at a time. */
export const reconcilerKey = "millrace:reconciler";

/** BullMQ's prefix of a worker's queue: each queue has a hash tag of its own. */
export function queuePrefix(worker: string): string {
  return `millrace:{${worker}}`;
}

/** Hash of the units that share a job with others: id of a unit's own job -> id of the group's. */
export function groupedKey(worker: string): string {
  return `${queuePrefix(worker)}:grouped`;
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
    /** List of the ids of jobs that some process has in hand. */
    active: `${base}:active`,
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
