import { type Manifest, type MessageId, manifestSchema } from "@millrace/mail";
import { type Command, coalescing, shardOf, shards } from "@millrace/spool";
import type { Redis } from "ioredis";
import { journalCommand, journalFields, type NewEntry } from "./journal.ts";
import { ledgerKeys, shardKeys, workKey } from "./keys.ts";
import { decodeRef, encodeRef, type Unit, type UnitRef, unitSchema } from "./unit.ts";

/** Milliseconds after which somebody looks whether the job of a new unit was really added. */
const wakeGrace = 10_000;

export type Outcome = "done" | "deferred" | "dead";

export interface Settlement {
  outcome: Outcome;
  /** The unit as it goes on, for "deferred" and "dead". */
  unit?: Unit;
  journal: readonly NewEntry[];
  /** New units, by name. */
  opens: ReadonlyMap<string, Unit>;
}

/**
 * KEYS work open wakeups journal manifest chunks
 * ARGV id unit outcome unit-json grace-at number-of-entries {number-of-fields fields…} {unit-name unit-json}
 *
 * Nothing happens unless the unit is still open: a second run of the same job changes nothing.
 * A message ends here when no work is left and the spool has let its body go. A dead letter keeps its unit, marked,
 * while the body is in the spool: the body must not be taken for finished with.
 */
const settleScript = `
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return 0 end
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  local fields = tonumber(ARGV[at])
  redis.call('XADD', KEYS[4], '*', unpack(ARGV, at + 1, at + fields))
  at = at + fields + 1
end
while at < #ARGV do
  if redis.call('HSETNX', KEYS[1], ARGV[at], ARGV[at + 1]) == 1 then
    redis.call('ZADD', KEYS[3], ARGV[5], ARGV[1] .. ' ' .. ARGV[at])
  end
  at = at + 2
end
local spooled = redis.call('EXISTS', KEYS[6])
if ARGV[3] == 'deferred' then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
elseif ARGV[3] == 'dead' and spooled == 1 then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
else
  redis.call('HDEL', KEYS[1], ARGV[2])
end
if spooled == 0 and redis.call('HLEN', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('DEL', KEYS[5])
  return 2
end
return 1`;

/** What is still to be done for every message that has not reached its end. Owns its keys in Redis. */
export interface Ledger {
  /** The unit, and the message's manifest; undefined when the unit was settled before. */
  begin(ref: UnitRef): Promise<{ unit: Unit; manifest: Manifest } | undefined>;
  /** Records the end of a run in one step. False when the unit had been settled before: then nothing was changed. */
  settle(ref: UnitRef, settlement: Settlement): Promise<boolean>;
  /** Units whose jobs may be missing, oldest first. */
  dueWakeups(now: number, limit: number): Promise<UnitRef[]>;
  /** Their jobs are there. */
  woken(refs: readonly UnitRef[]): Promise<void>;
  /** All units of a message. */
  unitsOf(id: MessageId): Promise<Map<string, Unit>>;
  /** Number of messages that have not reached their end. */
  openCount(): Promise<number>;
  /** Messages that have not reached their end, oldest first, with the milliseconds of their acceptance. */
  open(offset: number, limit: number): Promise<{ id: MessageId; at: number }[]>;
  /** Opens units for a message, as publishing does; those that exist stay as they are. */
  reopen(id: MessageId, units: ReadonlyMap<string, Unit>): Promise<void>;
  /** Removes a message nothing is left of: no work, no body. */
  close(id: MessageId): Promise<void>;
}

export function redisLedger(redis: Redis): Ledger {
  redis.defineCommand("ledgerSettle", { numberOfKeys: 6, lua: settleScript });
  const send = coalescing(redis);
  return {
    async begin({ message, unit }) {
      const keys = ledgerKeys(message);
      const [unitJson, manifestJson] = await Promise.all([
        send<string | null>("hget", keys.work, unit),
        send<string | null>("get", keys.manifest),
      ]);
      if (unitJson === null || manifestJson === null) return undefined;
      const found = unitSchema.parse(JSON.parse(unitJson));
      return found.dead
        ? undefined
        : { unit: found, manifest: manifestSchema.parse(JSON.parse(manifestJson)) };
    },

    async settle({ message, unit }, { outcome, unit: next, journal, opens }) {
      const keys = ledgerKeys(message);
      const stored = next ? JSON.stringify(outcome === "dead" ? { ...next, dead: true } : next) : "";
      const entries = journal.flatMap((entry) => {
        const fields = journalFields(message, entry);
        return [fields.length, ...fields];
      });
      const units = [...opens].flatMap(([name, each]) => [name, JSON.stringify(each)]);
      const result = await send<number>(
        "ledgerSettle",
        ...[keys.work, keys.open, keys.wakeups, keys.journal, keys.manifest, keys.chunks],
        ...[message, unit, outcome, stored, Date.now() + wakeGrace],
        journal.length,
        ...entries,
        ...units,
      );
      return result > 0;
    },

    async dueWakeups(now, limit) {
      const pages = await Promise.all(
        shards.map((shard) => redis.zrangebyscore(shardKeys(shard).wakeups, "-inf", now, "LIMIT", 0, limit)),
      );
      return pages.flat().map(decodeRef);
    },

    async woken(refs) {
      for (const [shard, members] of byShard(refs)) {
        await send("zrem", shardKeys(shard).wakeups, ...members);
      }
    },

    async unitsOf(id) {
      const all = await redis.hgetall(workKey(id));
      return new Map(Object.entries(all).map(([name, json]) => [name, unitSchema.parse(JSON.parse(json))]));
    },

    async openCount() {
      const counts = await Promise.all(shards.map((shard) => redis.zcard(shardKeys(shard).open)));
      return counts.reduce((sum, count) => sum + count, 0);
    },

    async open(offset, limit) {
      const pages = await Promise.all(
        shards.map((shard) =>
          redis.zrange(shardKeys(shard).open, `${offset}`, `${offset + limit - 1}`, "WITHSCORES"),
        ),
      );
      return pages.flatMap((page) =>
        Array.from({ length: page.length / 2 }, (_, i) => ({
          id: page[2 * i] as string,
          at: Number(page[2 * i + 1]),
        })),
      );
    },

    async reopen(id, units) {
      const transaction = redis.multi();
      for (const [name, unit] of units) {
        transaction.hsetnx(workKey(id), name, JSON.stringify(unit));
        transaction.zadd(
          ledgerKeys(id).wakeups,
          Date.now() + wakeGrace,
          encodeRef({ message: id, unit: name }),
        );
      }
      transaction.zadd(ledgerKeys(id).open, "NX", Date.now(), id);
      for (const [error] of (await transaction.exec()) ?? []) if (error) throw error;
    },

    async close(id) {
      const keys = ledgerKeys(id);
      await redis.multi().zrem(keys.open, id).del(keys.manifest, keys.work).exec();
    },
  };
}

/** The commands that open a new message's work, for the commit to run in its own step. */
export function openingCommands(
  manifest: Manifest,
  units: ReadonlyMap<string, Unit>,
  entry: NewEntry,
): Command[] {
  const { id, receivedAt } = manifest;
  const keys = ledgerKeys(id);
  const names = [...units.keys()];
  return [
    ["HSET", keys.work, ...[...units].flatMap(([name, unit]) => [name, JSON.stringify(unit)])],
    ["ZADD", keys.open, receivedAt, id],
    [
      "ZADD",
      keys.wakeups,
      ...names.flatMap((unit) => [Date.now() + wakeGrace, encodeRef({ message: id, unit })]),
    ],
    journalCommand(id, entry),
  ];
}

function byShard(refs: readonly UnitRef[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const ref of refs) {
    const shard = shardOf(ref.message);
    const group = groups.get(shard);
    if (group) group.push(encodeRef(ref));
    else groups.set(shard, [encodeRef(ref)]);
  }
  return groups;
}
