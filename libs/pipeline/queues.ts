import { setTimeout as sleep } from "node:timers/promises";
import { batched } from "@millrace/spool";
import { type Job, Queue } from "bullmq";
import type { Redis } from "ioredis";
import { type JobGroups, jobGroups, largestGroup, newGroupId } from "./job-groups.ts";
import { groupedKey, jobKey, queueKeys, queuePrefix } from "./keys.ts";
import { type FreshUnit, type JobData, jobIdOf, type UnitRef, type Waking, workerOf } from "./unit.ts";

/** How many units of a worker wait, are in hand, are due later, or were buried by BullMQ itself. */
export interface QueueCounts {
  waiting: number;
  active: number;
  delayed: number;
  failed: number;
}

/** A unit that is to have a job of its own. */
export interface Separation extends UnitRef {
  /** Milliseconds since the epoch before which it is not to be taken. */
  due?: number | undefined;
  /** Whether a process that had it in hand has died. */
  survivor?: boolean;
}

/** The BullMQ queues, one per worker, made when they are first needed. */
export interface Queues {
  /**
   * Adds the jobs of units, in batches with others, and goes on trying until it has worked. A job that exists is
   * left as it is. What this process does not live to do, the reconciler does: the unit is what counts.
   * @param fresh from whoever has just opened the unit, and from nobody else: such units of one batch share jobs
   */
  wake(ref: UnitRef, fresh?: FreshUnit): Promise<undefined>;
  /** Gives units that shared a job jobs of their own. One that has such a job keeps it. */
  separate(units: readonly Separation[]): Promise<void>;
  readonly groups: Pick<JobGroups, "disband" | "forget">;
  /** Those of the units that have no job at all. */
  withoutJob(refs: readonly UnitRef[]): Promise<UnitRef[]>;
  /** Removes the jobs of units; one that is running is its worker's, and ends when it finds no unit. @returns how many ran */
  remove(refs: readonly UnitRef[]): Promise<{ removed: number; running: number }>;
  counts(worker: string): Promise<QueueCounts>;
  /** Jobs that some process has in hand. */
  active(worker: string): Promise<Job<JobData>[]>;
  /** Jobs that are due later, the next one first. */
  delayed(worker: string, limit: number): Promise<Job<JobData>[]>;
  /** Stands a worker still in all its processes: jobs under way finish, the others wait. Lasts until `resume`. */
  pause(worker: string): Promise<void>;
  resume(worker: string): Promise<void>;
  isPaused(worker: string): Promise<boolean>;
  /** Milliseconds since the oldest of the jobs that wait, run or are due later was made; undefined when there is none. */
  oldestAge(worker: string): Promise<number | undefined>;
  /** Removes a worker's queue with all jobs in it. Their units are not touched. */
  obliterate(worker: string): Promise<void>;
  /** Jobs that BullMQ gave up on by itself. */
  buried(worker: string, limit: number): Promise<Job<JobData>[]>;
  close(): Promise<void>;
}

/** Delayed jobs whose age is looked at: they are in the order they are due in, not in that of their age. */
const mostDelayedSeen = 1_000;

export function openQueues(redis: Redis): Queues {
  const groups = jobGroups(redis);
  const queues = new Map<string, Queue<JobData>>();
  const queueOf = (worker: string): Queue<JobData> => {
    const known = queues.get(worker);
    if (known) return known;
    const queue = new Queue<JobData>(worker, {
      connection: redis,
      prefix: queuePrefix(worker),
      // Nobody reads BullMQ's event stream; the journal is the record.
      streams: { events: { maxLen: 1 } },
      defaultJobOptions: { attempts: 1, removeOnComplete: true, removeOnFail: false },
    });
    queue.on("error", () => {});
    queues.set(worker, queue);
    // One that has not heard of Redis in time fails at everything for good (BullMQ 6): the next use makes another.
    queue.waitUntilReady().catch(() => {
      queues.delete(worker);
      void queue.close().catch(() => {});
    });
    return queue;
  };

  const withoutKey = async (jobs: readonly { ref: UnitRef; job: string }[]) => {
    const pipeline = redis.pipeline();
    for (const { ref, job } of jobs) pipeline.exists(jobKey(workerOf(ref.unit), job));
    const results = (await pipeline.exec()) ?? [];
    return jobs.filter((_, index) => {
      const [error, found] = results[index] ?? [new Error("Redis has not answered")];
      if (error) throw error;
      return found === 0;
    });
  };
  const withoutJob = async (refs: readonly UnitRef[]): Promise<UnitRef[]> => {
    const alone = await withoutKey(refs.map((ref) => ({ ref, job: jobIdOf(ref) })));
    const missing: UnitRef[] = [];
    for (const [worker, own] of Map.groupBy(alone, ({ ref }) => workerOf(ref.unit))) {
      const found = await groups.find(
        worker,
        own.map(({ ref }) => ref),
      );
      const inGroups = own.flatMap(({ ref }, at) => (found[at] ? [{ ref, job: found[at] }] : []));
      const lost = new Set((await withoutKey(inGroups)).map(({ ref }) => ref));
      missing.push(...own.flatMap(({ ref }, at) => (!found[at] || lost.has(ref) ? [ref] : [])));
    }
    return missing;
  };

  let closed = false;
  const addAlone = (
    { message, unit, fresh }: Waking,
    more: Omit<Separation, keyof UnitRef> = {},
  ): Promise<unknown> => {
    const { survivor, due } = more;
    const data = {
      v: 1,
      message,
      unit,
      ...(fresh ? { fresh } : {}),
      ...(survivor ? { survivor } : {}),
    } as const;
    const delay = due === undefined ? 0 : Math.max(due - Date.now(), 0);
    return queueOf(workerOf(unit)).add(workerOf(unit), data, { jobId: jobIdOf({ message, unit }), delay });
  };
  /** Adds one job for several units. Their entries go before it, on the same connection. */
  const addGroup = (worker: string, group: Waking[]): Promise<unknown> => {
    const id = newGroupId(group.length);
    const recorded = groups.record(worker, id, group);
    return Promise.all([recorded, queueOf(worker).add(worker, { v: 2, group }, { jobId: id })]);
  };
  // Not addBulk: it takes the scripts for known, and making its pipeline costs more than it saves.
  const addJobs = async (worker: string, wakings: readonly Waking[]): Promise<void> => {
    const fresh = wakings.filter((waking) => waking.fresh);
    const [shared, alone] = fresh.length > 1 ? [fresh, wakings.filter(({ fresh }) => !fresh)] : [[], wakings];
    const added = alone.map((waking) => addAlone(waking));
    for (let at = 0; at < shared.length; at += largestGroup)
      added.push(addGroup(worker, shared.slice(at, at + largestGroup)));
    await Promise.all(added);
  };
  const wakeBatch = batched<Waking, undefined>(async (wakings) => {
    for (const [worker, group] of Map.groupBy(wakings, ({ unit }) => workerOf(unit))) {
      let add = () => addJobs(worker, group);
      for (let delay = 50; !closed; delay = Math.min(2 * delay, 1_000)) {
        const added = await add().then(
          () => true,
          () => false,
        );
        if (added) break;
        // It may have happened all the same. Those that have no job now get one each; some of them may be done, so the
        // ledger is to be asked.
        const refs = group.map(({ message, unit }) => ({ message, unit }));
        add = async () => addJobs(worker, await withoutJob(refs));
        await sleep(delay, undefined, { ref: false });
      }
    }
    return wakings.map(() => undefined);
  }, 500);

  return {
    wake: ({ message, unit }, fresh) => wakeBatch.add({ message, unit, ...(fresh ? { fresh } : {}) }),

    async separate(units) {
      await Promise.all(units.map(({ message, unit, ...how }) => addAlone({ message, unit }, how)));
    },

    groups,

    withoutJob,

    async remove(refs) {
      let removed = 0;
      let running = 0;
      for (const ref of refs) {
        const [worker, id] = [workerOf(ref.unit), jobIdOf(ref)];
        if (await redis.exists(jobKey(worker, id))) {
          // 0 when somebody holds its lock.
          if ((await queueOf(worker).remove(id)) === 1) removed++;
          else {
            running++;
            // What it carried of the message goes at once, not only when its run ends.
            const job = (await queueOf(worker).getJob(id)) as Job<JobData> | undefined;
            await job?.updateData({ v: 1, ...ref });
          }
        }
        const [group] = await groups.find(worker, [ref]);
        if (group === undefined) continue;
        const held = await redis.exists(`${jobKey(worker, group)}:lock`);
        if (await groups.takeOut(worker, group, ref)) {
          if (held) running++;
          else removed++;
        }
        await groups.disband(worker, group, [ref]);
      }
      return { removed, running };
    },

    pause: (worker) => queueOf(worker).pause(),
    resume: (worker) => queueOf(worker).resume(),
    isPaused: (worker) => queueOf(worker).isPaused(),
    async oldestAge(worker) {
      const queue = queueOf(worker);
      const [waiting, active, delayed] = await Promise.all([
        queue.getJobs(["wait"], 0, 0, true),
        queue.getActive(0, -1),
        queue.getDelayed(0, mostDelayedSeen),
      ]);
      const made = [...waiting, ...active, ...delayed].filter(Boolean).map(({ timestamp }) => timestamp);
      return made.length === 0 ? undefined : Date.now() - made.reduce((a, b) => Math.min(a, b));
    },
    async obliterate(worker) {
      await queueOf(worker).obliterate({ force: true });
      await redis.del(groupedKey(worker));
    },

    async counts(worker) {
      const keys = queueKeys(worker);
      const [counts, waiting, active] = await Promise.all([
        queueOf(worker).getJobCounts("delayed", "failed"),
        groups.unitsIn(keys.wait),
        groups.openIn(worker, keys.active),
      ]);
      return {
        waiting,
        active,
        delayed: counts.delayed ?? 0,
        failed: counts.failed ?? 0,
      };
    },

    active: (worker) => queueOf(worker).getActive(),
    delayed: (worker, limit) => queueOf(worker).getDelayed(0, limit - 1),
    buried: (worker, limit) => queueOf(worker).getFailed(0, limit - 1),

    async close() {
      await Promise.race([wakeBatch.idle(), sleep(1_000, undefined, { ref: false })]);
      closed = true;
      await Promise.all([...queues.values()].map((queue) => queue.close().catch(() => {})));
    },
  };
}
