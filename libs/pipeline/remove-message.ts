import type { MessageId } from "@millrace/mail";
import { shardOf, spoolKeys } from "@millrace/spool";
import type { Redis } from "ioredis";
import type { JournalTail } from "./journal.ts";
import { ledgerKeys, shardKeys } from "./keys.ts";
import type { Queues } from "./queues.ts";

/** What of one message was in Redis. */
export interface RemovedInFlight {
  /** Whether its body was in the spool. */
  body: boolean;
  parsed: boolean;
  /** Units of work, and the jobs that were to wake somebody for them. */
  units: number;
  jobs: number;
  /** Jobs that are running at this instant. They find nothing to record, but what they do they finish. */
  running: number;
  journalEntries: number;
}

/**
 * KEYS work open journal manifest chunks octets parsed spooled effects
 * ARGV id {seq of a journal entry}
 *
 * All at once, so that nobody meets half a message: a worker that asks for its unit finds it, or finds that it was
 * settled; the reconciler finds an open message with its work, or none.
 */
const removeScript = `
local body = redis.call('UNLINK', KEYS[5])
redis.call('DEL', KEYS[6])
local parsed = redis.call('DEL', KEYS[7])
local units = redis.call('HKEYS', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[4], KEYS[9])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[8], ARGV[1])
local entries = 0
for at = 2, #ARGV do entries = entries + redis.call('XDEL', KEYS[3], ARGV[at]) end
return {body, parsed, entries, units}`;

interface RemovalCommands {
  removeMessage(...args: (string | number)[]): Promise<[number, number, number, string[]]>;
}

/** Takes a message out of Redis: body, parsed message, work, journal and jobs. For whoever has a right to lose it. */
export async function removeMessage(
  pipeline: { redis: Redis; journal: JournalTail; queues: Queues },
  id: MessageId,
): Promise<RemovedInFlight> {
  const { redis, journal, queues } = pipeline;
  redis.defineCommand("removeMessage", { numberOfKeys: 9, lua: removeScript });
  const seqs = (await journal.of(id)).map(({ seq }) => seq);
  const keys = ledgerKeys(id);
  const { octets, parsed, spooled } = spoolKeys(id);
  const [body, wasParsed, journalEntries, units] = await (redis as Redis & RemovalCommands).removeMessage(
    ...[
      keys.work,
      keys.open,
      keys.journal,
      keys.manifest,
      keys.chunks,
      octets,
      parsed,
      spooled,
      keys.effects,
    ],
    id,
    ...seqs,
  );
  // The jobs last: until then the reconciler could have given one to a unit that had none.
  const jobs = await queues.remove(units.map((unit) => ({ message: id, unit })));
  return {
    body: body > 0,
    parsed: wasParsed > 0,
    units: units.length,
    jobs: jobs.removed,
    running: jobs.running,
    journalEntries,
  };
}

/** Those of the messages that have not reached their end: somebody has work for them, or their body is in the spool. */
export async function stillInFlight(redis: Redis, ids: readonly MessageId[]): Promise<Set<MessageId>> {
  const found = new Set<MessageId>();
  for (const [shard, group] of Map.groupBy(ids, shardOf)) {
    const spooled = spoolKeys(group[0] as MessageId).spooled;
    for (const key of [shardKeys(shard).open, spooled]) {
      const scores = await redis.zmscore(key, ...group);
      for (const [index, score] of scores.entries()) if (score !== null) found.add(group[index] as MessageId);
    }
  }
  return found;
}
