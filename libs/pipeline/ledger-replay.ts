import type { Manifest } from "@millrace/mail";
import type { Redis } from "ioredis";
import { journalJson, type NewEntry } from "./journal.ts";
import { ledgerKeys, replayRunKey } from "./keys.ts";
import type { Unit, UnitRef } from "./unit.ts";

/** Where a replay of many messages stands: each message moves it on in the step that opens its work. */
export interface RunPosition {
  /** Id of the run. */
  run: string;
  /** Number of the message within the run, from 1. */
  ordinal: number;
  /** Where its selection goes on behind this message. */
  position: string;
}

/** A unit to open again, and the entry that records it. */
export interface ReplayedUnit {
  unit: Unit;
  entry: NewEntry;
  /** What its worker had done of it: see `EffectLog`. None: its effects are run again. */
  effects?: Readonly<Record<string, string>> | undefined;
}

/**
 * KEYS work open journal manifest run effects
 * ARGV id receivedAt manifest-json ordinal position {unit-name unit-json entry-json effects-json}
 *
 * A unit that is open is left as it is; a dead one is opened again. The worker's effects are set to those given, unless
 * other work of that worker is open, which goes by them. An ordinal the run has been past changes nothing:
 * the step may have been sent twice, and the work of the first may be done already.
 */
const replayScript = `
if ARGV[4] ~= '' then
  if tonumber(redis.call('HGET', KEYS[5], 'ordinal') or '0') >= tonumber(ARGV[4]) then return {} end
  redis.call('HSET', KEYS[5], 'ordinal', ARGV[4], 'position', ARGV[5])
end
local opened = {}
local function workerOf(name) return string.sub(name, 1, string.find(name, '/', 1, true) - 1) end
local function isBusy(worker)
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if workerOf(all[i]) == worker and not cjson.decode(all[i + 1]).dead then return true end
  end
  return false
end
local function setEffects(worker, effects)
  for _, field in ipairs(redis.call('HKEYS', KEYS[6])) do
    if string.sub(field, 1, #worker + 1) == worker .. '\\n' then redis.call('HDEL', KEYS[6], field) end
  end
  for key, value in pairs(effects) do redis.call('HSET', KEYS[6], worker .. '\\n' .. key, value) end
end
for at = 6, #ARGV, 4 do
  local current = redis.call('HGET', KEYS[1], ARGV[at])
  if not current or cjson.decode(current).dead then
    local worker = workerOf(ARGV[at])
    if not isBusy(worker) then setEffects(worker, cjson.decode(ARGV[at + 3])) end
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    redis.call('XADD', KEYS[3], '*', 'j', ARGV[at + 2])
    opened[#opened + 1] = ARGV[at]
  end
end
if #opened > 0 then
  redis.call('SET', KEYS[4], ARGV[3], 'NX')
  redis.call('ZADD', KEYS[2], 'NX', ARGV[2], ARGV[1])
end
return opened`;

/**
 * KEYS work open journal manifest chunks effects; ARGV id unit entry-json
 * Answers 0 when the unit is open: it was replayed meanwhile.
 */
const discardScript = `
local current = redis.call('HGET', KEYS[1], ARGV[2])
if current and not cjson.decode(current).dead then return 0 end
redis.call('HDEL', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[3], '*', 'j', ARGV[3])
if redis.call('EXISTS', KEYS[5]) == 0 and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('DEL', KEYS[4], KEYS[6])
end
return 1`;

interface ReplayCommands {
  ledgerReplay(...args: (string | number)[]): Promise<string[]>;
  ledgerDiscard(...args: (string | number)[]): Promise<number>;
}

/** The ways back into the ledger for jobs that have ended. */
export interface LedgerReplay {
  /**
   * Opens units of a message again, whether it has reached its end or not, and records each in the journal, in one
   * step with the run's position.
   * @returns the names of those it opened: not those that are open already
   */
  open(
    manifest: Manifest,
    units: ReadonlyMap<string, ReplayedUnit>,
    position?: RunPosition,
  ): Promise<string[]>;
  /** Records that a dead letter is given up. False when its unit is open again: then nothing was changed. */
  discard(ref: UnitRef, entry: NewEntry): Promise<boolean>;
}

export function ledgerReplay(redis: Redis): LedgerReplay {
  redis.defineCommand("ledgerReplay", { numberOfKeys: 6, lua: replayScript });
  redis.defineCommand("ledgerDiscard", { numberOfKeys: 6, lua: discardScript });
  const scripted = redis as Redis & ReplayCommands;
  return {
    open(manifest, units, position) {
      const keys = ledgerKeys(manifest.id);
      return scripted.ledgerReplay(
        ...[keys.work, keys.open, keys.journal, keys.manifest, replayRunKey(position?.run ?? "none")],
        keys.effects,
        ...[manifest.id, manifest.receivedAt, JSON.stringify(manifest)],
        ...[position?.ordinal ?? "", position?.position ?? ""],
        ...[...units].flatMap(([name, { unit, entry, effects }]) => [
          name,
          JSON.stringify(unit),
          journalJson(manifest.id, entry),
          JSON.stringify(effects ?? {}),
        ]),
      );
    },

    async discard({ message, unit }, entry) {
      const keys = ledgerKeys(message);
      const changed = await scripted.ledgerDiscard(
        ...[keys.work, keys.open, keys.journal, keys.manifest, keys.chunks, keys.effects],
        ...[message, unit, journalJson(message, entry)],
      );
      return changed === 1;
    },
  };
}

/** Where an earlier run with the same question was left. */
export interface LeftRun {
  ordinal: number;
  position: string | undefined;
  /** What it was started with: see `ReplayRun`. */
  record: string;
}

/** Keeps where runs stand, so that a second one with the same question goes on where the first was left. */
export function replayRuns(redis: Redis) {
  return {
    async find(run: string): Promise<LeftRun | undefined> {
      const { ordinal, position, record } = await redis.hgetall(replayRunKey(run));
      return record === undefined ? undefined : { ordinal: Number(ordinal ?? 0), position, record };
    },
    async begin(run: string, record: string): Promise<void> {
      const key = replayRunKey(run);
      await redis.multi().del(key).hset(key, "record", record).expire(key, keptFor).exec();
    },
    async end(run: string): Promise<void> {
      await redis.del(replayRunKey(run));
    },
  };
}

/** Seconds a run that was left can be gone on with. */
const keptFor = 30 * 86_400;
