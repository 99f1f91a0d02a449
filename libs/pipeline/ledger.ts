import { type Manifest, type MessageId, manifestSchema } from "@millrace/mail";
import { type Command, shards } from "@millrace/spool";
import type { Redis } from "ioredis";
import { journalCommand, journalJson, type NewEntry } from "./journal.ts";
import { ledgerKeys, shardKeys, workKey } from "./keys.ts";
import { type Unit, type UnitRef, unitSchema } from "./unit.ts";

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
 * KEYS work open journal manifest chunks effects
 * ARGV id unit outcome unit-json number-of-entries {entry-json} {unit-name unit-json}
 *
 * Nothing happens unless the unit is still open: a second run of the same job changes nothing.
 * A message ends here when no work is left and the spool has let its body go. A dead letter keeps its unit, marked,
 * while the body is in the spool: the body must not be taken for finished with.
 *
 * Answers 0 when nothing happened, else a list of the new units' names that were not open already.
 */
const settleScript = `
local spooled = redis.call('EXISTS', KEYS[5])
if ARGV[3] == 'deferred' or (ARGV[3] == 'dead' and spooled == 1) then
  if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return 0 end
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
elseif redis.call('HDEL', KEYS[1], ARGV[2]) == 0 then
  return 0
end
local entries = tonumber(ARGV[5])
for at = 6, 5 + entries do redis.call('XADD', KEYS[3], '*', 'j', ARGV[at]) end
local opened = {}
for at = 6 + entries, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[1], ARGV[at], ARGV[at + 1]) == 1 then opened[#opened + 1] = ARGV[at] end
end
if spooled == 0 and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('DEL', KEYS[4], KEYS[6])
end
return opened`;

/** KEYS work; ARGV unit unit-json. Answers 0 when the unit is not there. */
const noteScript = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1`;

/**
 * KEYS work open manifest chunks effects; ARGV id
 * Checked in the step itself: between a look at the message and its end a replay may have opened work.
 */
const closeScript = `
if redis.call('EXISTS', KEYS[4]) == 1 then return 0 end
for _, unit in ipairs(redis.call('HVALS', KEYS[1])) do
  if not cjson.decode(unit).dead then return 0 end
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1], KEYS[3], KEYS[5])
return 1`;

interface LedgerCommands {
  ledgerSettle(...args: (string | number)[]): Promise<0 | string[]>;
  ledgerNote(...args: string[]): Promise<number>;
  ledgerClose(...args: string[]): Promise<number>;
}

/** What is still to be done for every message that has not reached its end. Owns its keys in Redis. */
export interface Ledger {
  /** The unit, and the message's manifest; undefined when the unit was settled before. */
  begin(ref: UnitRef): Promise<{ unit: Unit; manifest: Manifest } | undefined>;
  /** Writes a unit as it is now, if it is there. */
  note(ref: UnitRef, unit: Unit): Promise<void>;
  /**
   * Records the end of a run in one step.
   * @returns the names of the units it has opened, without those that were open already; undefined when the unit had been
   * settled before: then nothing was changed
   */
  settle(ref: UnitRef, settlement: Settlement): Promise<readonly string[] | undefined>;
  /** All units of a message. */
  unitsOf(id: MessageId): Promise<Map<string, Unit>>;
  /** Number of messages that have not reached their end. */
  openCount(): Promise<number>;
  /** Messages that have not reached their end, oldest first, with the milliseconds of their acceptance. */
  open(offset: number, limit: number): Promise<{ id: MessageId; at: number }[]>;
  /** Opens units for a message, as publishing does; those that exist stay as they are. */
  reopen(id: MessageId, units: ReadonlyMap<string, Unit>): Promise<void>;
  /** Removes a message nothing is left of: no work, no body. Does nothing when something is. */
  close(id: MessageId): Promise<void>;
}

export function redisLedger(redis: Redis): Ledger {
  redis.defineCommand("ledgerSettle", { numberOfKeys: 6, lua: settleScript });
  redis.defineCommand("ledgerNote", { numberOfKeys: 1, lua: noteScript });
  redis.defineCommand("ledgerClose", { numberOfKeys: 5, lua: closeScript });
  const scripted = redis as Redis & LedgerCommands;
  return {
    async begin({ message, unit }) {
      const keys = ledgerKeys(message);
      const [unitJson, manifestJson] = await Promise.all([
        redis.hget(keys.work, unit),
        redis.get(keys.manifest),
      ]);
      if (unitJson === null || manifestJson === null) return undefined;
      const found = unitSchema.parse(JSON.parse(unitJson));
      return found.dead
        ? undefined
        : { unit: found, manifest: manifestSchema.parse(JSON.parse(manifestJson)) };
    },

    async note({ message, unit }, now) {
      await scripted.ledgerNote(workKey(message), unit, JSON.stringify(now));
    },

    async settle({ message, unit }, { outcome, unit: next, journal, opens }) {
      const keys = ledgerKeys(message);
      const stored = next ? JSON.stringify(outcome === "dead" ? { ...next, dead: true } : next) : "";
      const result = await scripted.ledgerSettle(
        ...[keys.work, keys.open, keys.journal, keys.manifest, keys.chunks, keys.effects],
        ...[message, unit, outcome, stored, journal.length],
        ...journal.map((entry) => journalJson(message, entry)),
        ...[...opens].flatMap(([name, each]) => [name, JSON.stringify(each)]),
      );
      return result === 0 ? undefined : result;
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
      }
      transaction.zadd(ledgerKeys(id).open, "NX", Date.now(), id);
      for (const [error] of (await transaction.exec()) ?? []) if (error) throw error;
    },

    async close(id) {
      const keys = ledgerKeys(id);
      await scripted.ledgerClose(keys.work, keys.open, keys.manifest, keys.chunks, keys.effects, id);
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
  return [
    ["HSET", keys.work, ...[...units].flatMap(([name, unit]) => [name, JSON.stringify(unit)])],
    ["ZADD", keys.open, receivedAt, id],
    journalCommand(id, entry),
  ];
}
