import type { Manifest, MessageId } from "@millrace/mail";
import type { Redis } from "ioredis";
import { journalJson, type NewEntry } from "./journal.ts";
import { decisionKey, ledgerKeys } from "./keys.ts";
import type { Unit } from "./unit.ts";

/** What somebody decides about a message that is held back. */
export interface Decision {
  /** `seq` of the journal entry it answers: a message is released, or discarded, once for each. */
  answers: string;
  /** Id of the command's run, by which it knows its own work again when an answer of Redis got lost. */
  run: string;
  entry: NewEntry;
}

/** Seconds a decision is remembered: beyond them every command sees it in the mail store. */
const rememberedFor = 86_400;

/**
 * KEYS work open journal manifest decision
 * ARGV id answers run seconds entry-json receivedAt manifest-json [unit-name unit-json]
 *
 * Answers 0 when something has been decided since the view this decision was made on: then nothing is changed.
 */
const decideScript = `
local function numbers(seq)
  local ms, n = string.match(seq, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end
local last = redis.call('GET', KEYS[5])
if last == ARGV[2] .. ' ' .. ARGV[3] then return 1 end
if last then
  local ms, n = numbers(ARGV[2])
  local lastMs, lastN = numbers(string.match(last, '^(%S+)'))
  if ms < lastMs or (ms == lastMs and n <= lastN) then return 0 end
end
redis.call('SET', KEYS[5], ARGV[2] .. ' ' .. ARGV[3], 'EX', ARGV[4])
redis.call('XADD', KEYS[3], '*', 'j', ARGV[5])
if ARGV[8] then
  local current = redis.call('HGET', KEYS[1], ARGV[8])
  if not current or cjson.decode(current).dead then redis.call('HSET', KEYS[1], ARGV[8], ARGV[9]) end
  redis.call('SET', KEYS[4], ARGV[7], 'NX')
  redis.call('ZADD', KEYS[2], 'NX', ARGV[6], ARGV[1])
end
return 1`;

interface QuarantineCommands {
  ledgerDecide(...args: (string | number)[]): Promise<number>;
}

/** The ways out of the quarantine. Both are false when somebody else was first: then nothing was changed. */
export interface LedgerQuarantine {
  /** Opens work for a message, and records by whom, in one step. */
  release(manifest: Manifest, unit: { name: string; unit: Unit }, decision: Decision): Promise<boolean>;
  discard(message: MessageId, decision: Decision): Promise<boolean>;
}

export function ledgerQuarantine(redis: Redis): LedgerQuarantine {
  redis.defineCommand("ledgerDecide", { numberOfKeys: 5, lua: decideScript });
  const scripted = redis as Redis & QuarantineCommands;
  const decide = async (id: MessageId, { answers, run, entry }: Decision, work: (string | number)[]) => {
    const keys = ledgerKeys(id);
    const changed = await scripted.ledgerDecide(
      ...[keys.work, keys.open, keys.journal, keys.manifest, decisionKey(id)],
      ...[id, answers, run, rememberedFor, journalJson(id, entry), ...work],
    );
    return changed === 1;
  };
  return {
    release: (manifest, { name, unit }, decision) =>
      decide(manifest.id, decision, [
        ...[manifest.receivedAt, JSON.stringify(manifest)],
        ...[name, JSON.stringify(unit)],
      ]),
    discard: (message, decision) => decide(message, decision, []),
  };
}
