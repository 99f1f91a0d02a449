import { type MessageId, newMessageId } from "@millrace/mail";
import type { Redis } from "ioredis";
import { groupedKey, jobKey, workKey } from "./keys.ts";
import { type JobData, jobDataSchema, jobIdOf, type UnitRef, wakingsOf } from "./unit.ts";

/** Units one job carries, at most: enough to make BullMQ's part of the cost small, few enough to share the work out. */
export const largestGroup = 16;

/** Ids read at once. */
const page = 10_000;

/** KEYS grouped; ARGV group {unit}. A unit that another group has been given meanwhile is left to that one. */
const disbandScript = `
for at = 2, #ARGV do
  if redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[1] then redis.call('HDEL', KEYS[1], ARGV[at]) end
end`;

/** KEYS job; ARGV before after. Answers 0 when the job is not there, or carries something else by now. */
const rewriteScript = `
if redis.call('HGET', KEYS[1], 'data') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'data', ARGV[2])
return 1`;

interface GroupCommands {
  groupDisband(...args: string[]): Promise<null>;
  groupRewrite(...args: string[]): Promise<number>;
}

/** A new group's job id. It says how many units are in it, so that whoever counts them need not read the jobs. */
export function newGroupId(units: number): string {
  return `${units}.${newMessageId()}`;
}

/** How many units a job of that id was made for. */
function unitsOf(jobId: string): number {
  return Number(/^(\d+)\.[0-9a-z]{26}$/.exec(jobId)?.[1] ?? 1);
}

/**
 * Which units share a job. Everybody who has to find a unit's job looks here when there is none of its own id; the
 * entries of a group are made before its job, and removed when its job has ended.
 */
export interface JobGroups {
  record(worker: string, group: string, refs: readonly UnitRef[]): Promise<void>;
  disband(worker: string, group: string, refs: readonly UnitRef[]): Promise<void>;
  /** The same, for units by the ids of their own jobs. */
  forget(worker: string, group: string, jobIds: readonly string[]): Promise<void>;
  /** Ids of the groups' jobs that the units are in; undefined for a unit in none. */
  find(worker: string, refs: readonly UnitRef[]): Promise<(string | undefined)[]>;
  /** Takes a unit out of its group's job. False when that has no such unit. */
  takeOut(worker: string, group: string, ref: UnitRef): Promise<boolean>;
  /** How many units the jobs of a list are for. */
  unitsIn(list: string): Promise<number>;
  /** The same, without those of a group that have ended or got a job of their own. Reads each group's job. */
  openIn(worker: string, list: string): Promise<number>;
}

export function jobGroups(redis: Redis): JobGroups {
  redis.defineCommand("groupDisband", { numberOfKeys: 1, lua: disbandScript });
  redis.defineCommand("groupRewrite", { numberOfKeys: 1, lua: rewriteScript });
  const scripted = redis as Redis & GroupCommands;
  const forget = async (worker: string, group: string, jobIds: readonly string[]): Promise<void> => {
    await scripted.groupDisband(groupedKey(worker), group, ...jobIds);
  };
  const stillInGroup = async (worker: string, group: string): Promise<number> => {
    const json = await redis.hget(jobKey(worker, group), "data");
    if (json === null) return 0;
    const refs = wakingsOf(jobDataSchema.parse(JSON.parse(json)));
    const looks = refs.map(async (ref) => {
      const [open, own] = await Promise.all([
        redis.hexists(workKey(ref.message), ref.unit),
        redis.exists(jobKey(worker, jobIdOf(ref))),
      ]);
      return open === 1 && own === 0;
    });
    return (await Promise.all(looks)).filter(Boolean).length;
  };
  return {
    async record(worker, group, refs) {
      await redis.hset(groupedKey(worker), ...refs.flatMap((ref) => [jobIdOf(ref), group]));
    },

    disband: (worker, group, refs) => forget(worker, group, refs.map(jobIdOf)),
    forget,

    async find(worker, refs) {
      if (refs.length === 0) return [];
      const found = await redis.hmget(groupedKey(worker), ...refs.map(jobIdOf));
      return found.map((group) => group ?? undefined);
    },

    async takeOut(worker, group, ref) {
      const key = jobKey(worker, group);
      for (;;) {
        const before = await redis.hget(key, "data");
        if (before === null) return false;
        const data = jobDataSchema.parse(JSON.parse(before));
        if (data.v !== 2) return false;
        const rest = data.group.filter((each) => !isSame(each, ref));
        if (rest.length === data.group.length) return false;
        const after: JobData = { ...data, group: rest };
        if ((await scripted.groupRewrite(key, before, JSON.stringify(after))) === 1) return true;
      }
    },

    async unitsIn(list) {
      let units = 0;
      for (let from = 0; ; from += page) {
        const ids = await redis.lrange(list, from, from + page - 1);
        units += ids.reduce((sum, id) => sum + unitsOf(id), 0);
        if (ids.length < page) return units;
      }
    },

    async openIn(worker, list) {
      const ids = await redis.lrange(list, 0, -1);
      const groups = ids.filter((id) => unitsOf(id) > 1);
      const counts = await Promise.all(groups.map((id) => stillInGroup(worker, id)));
      return ids.length - groups.length + counts.reduce((sum, count) => sum + count, 0);
    },
  };
}

function isSame(a: { message: MessageId; unit: string }, b: UnitRef): boolean {
  return a.message === b.message && a.unit === b.unit;
}
