import { setTimeout as sleep } from "node:timers/promises";
import { batched } from "@millrace/spool";
import { type Job, Queue } from "bullmq";
import type { Redis } from "ioredis";
import { jobKey, queuePrefix } from "./keys.ts";
import { type JobData, jobDataSchema, jobIdOf, type UnitRef, workerOf } from "./unit.ts";

/** How many jobs of a worker wait, run, are due later, or were buried by BullMQ itself. */
export interface QueueCounts {
  waiting: number;
  active: number;
  delayed: number;
  failed: number;
}

/** The BullMQ queues, one per worker, made when they are first needed. */
export interface Queues {
  /**
   * Adds the jobs of units, in batches with others, and goes on trying until it has worked. A job that exists is
   * left as it is. What this process does not live to do, the reconciler does: the unit is what counts.
   */
  wake(ref: UnitRef): Promise<undefined>;
  /** Those of the units that have no job at all. */
  withoutJob(refs: readonly UnitRef[]): Promise<UnitRef[]>;
  /** Removes the jobs of units; one that is running is its worker's, and ends when it finds no unit. @returns how many ran */
  remove(refs: readonly UnitRef[]): Promise<{ removed: number; running: number }>;
  counts(worker: string): Promise<QueueCounts>;
  /** Jobs that BullMQ gave up on by itself. */
  buried(worker: string, limit: number): Promise<Job<JobData>[]>;
  close(): Promise<void>;
}

export function openQueues(redis: Redis): Queues {
  const queues = new Map<string, Queue<JobData>>();
  const queueOf = (worker: string): Queue<JobData> => {
    let queue = queues.get(worker);
    if (!queue) {
      queue = new Queue<JobData>(worker, {
        connection: redis,
        prefix: queuePrefix(worker),
        // Nobody reads BullMQ's event stream; the journal is the record.
        streams: { events: { maxLen: 1 } },
        defaultJobOptions: { attempts: 1, removeOnComplete: true, removeOnFail: false },
      });
      queue.on("error", () => {});
      queues.set(worker, queue);
    }
    return queue;
  };

  let closed = false;
  const addJobs = async (worker: string, refs: readonly UnitRef[]): Promise<void> => {
    const queue = queueOf(worker);
    // Not addBulk: it takes the scripts for known, and making its pipeline costs more than it saves.
    await Promise.all(
      refs.map((ref) => queue.add(worker, jobDataSchema.parse({ v: 1, ...ref }), { jobId: jobIdOf(ref) })),
    );
  };
  const wakeBatch = batched<UnitRef, undefined>(async (refs) => {
    for (const [worker, group] of Map.groupBy(refs, (ref) => workerOf(ref.unit))) {
      for (let delay = 50; !closed; delay = Math.min(2 * delay, 1_000)) {
        const added = await addJobs(worker, group).then(
          () => true,
          () => false,
        );
        if (added) break;
        await sleep(delay, undefined, { ref: false });
      }
    }
    return refs.map(() => undefined);
  }, 500);

  return {
    wake: (ref) => wakeBatch.add(ref),

    async withoutJob(refs) {
      const pipeline = redis.pipeline();
      for (const ref of refs) pipeline.exists(jobKey(workerOf(ref.unit), jobIdOf(ref)));
      const results = (await pipeline.exec()) ?? [];
      return refs.filter((_, index) => results[index]?.[1] === 0);
    },

    async remove(refs) {
      let removed = 0;
      let running = 0;
      for (const ref of refs) {
        const [worker, id] = [workerOf(ref.unit), jobIdOf(ref)];
        // 0 when there is no such job, and when somebody holds its lock.
        if ((await queueOf(worker).remove(id)) === 1) removed++;
        else if (await redis.exists(jobKey(worker, id))) running++;
      }
      return { removed, running };
    },

    async counts(worker) {
      const counts = await queueOf(worker).getJobCounts("wait", "active", "delayed", "failed");
      return {
        waiting: counts.wait ?? 0,
        active: counts.active ?? 0,
        delayed: counts.delayed ?? 0,
        failed: counts.failed ?? 0,
      };
    },

    buried: (worker, limit) => queueOf(worker).getFailed(0, limit - 1),

    async close() {
      await Promise.race([wakeBatch.idle(), sleep(1_000, undefined, { ref: false })]);
      closed = true;
      await Promise.all([...queues.values()].map((queue) => queue.close().catch(() => {})));
    },
  };
}
