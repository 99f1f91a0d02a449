import { setTimeout as sleep } from "node:timers/promises";
import { type Processor, Worker } from "bullmq";
import { watchedWorker } from "./idle-watch.ts";
import { giveUpWithin, jobProcessor } from "./job-processor.ts";
import { queuePrefix } from "./keys.ts";
import type { Pipeline } from "./open-pipeline.ts";
import { restWhileFull } from "./rest-while-full.ts";
import type { JobData } from "./unit.ts";
import type { WorkerDefinition } from "./worker.ts";

/** Durations of a worker's life, in milliseconds. */
export interface WorkerTiming {
  /** After this, the job of a process that died is somebody else's. */
  lockDuration: number;
  /** How often such jobs are looked for. */
  stalledInterval: number;
  /** How long a stopping worker lets its handlers finish. */
  finishWithin: number;
  /** How long a job may wait while this process has a free hand; then its client has fallen silent. */
  idleAfter: number;
}

const defaultTiming: WorkerTiming = {
  lockDuration: 20_000,
  stalledInterval: 5_000,
  finishWithin: 10_000,
  idleAfter: 20_000,
};
export interface RunningWorker {
  /** Takes no more jobs, lets those under way finish, hands back those that do not. */
  stop(): Promise<void>;
}

/** Registers the worker's subscription and handles its jobs until it is stopped. */
export async function startWorker(
  worker: WorkerDefinition,
  pipeline: Pipeline,
  timing: Partial<WorkerTiming> = {},
): Promise<RunningWorker> {
  const { lockDuration, stalledInterval, finishWithin, idleAfter } = { ...defaultTiming, ...timing };
  const { log } = pipeline;
  const stopping = new AbortController();
  await pipeline.subscriptions.register(worker.name, worker.on);

  const open = (processor: Processor<JobData>) => {
    const bull = new Worker<JobData>(worker.name, processor, {
      connection: pipeline.redis,
      prefix: queuePrefix(worker.name),
      concurrency: worker.concurrency,
      lockDuration,
      stalledInterval,
      // BullMQ must never bury a job by itself: how often is too often is `maxCrashes`, and the burial is ours.
      maxStalledCount: 1_000_000,
      removeOnComplete: { count: 0 },
      drainDelay: 5,
      runRetryDelay: 1_000,
    });
    bull.on("error", (error) => log.warn({ worker: worker.name, err: error }, "queue trouble"));
    restWhileFull(bull, log);
    return bull;
  };
  const processJob = jobProcessor(worker, pipeline, stopping.signal);
  const bull = watchedWorker(worker, pipeline, processJob, open, idleAfter);

  return {
    async stop() {
      const closed = bull.close();
      const finished = Promise.race([closed.then(() => true), sleep(finishWithin, false, { ref: false })]);
      if (await finished) return;
      stopping.abort();
      const handedBack = Promise.race([
        closed.then(() => true),
        sleep(2 * giveUpWithin, false, { ref: false }),
      ]);
      // Redis is away: what is left behind is found by the next process as stalled.
      if (!(await handedBack)) await bull.close(true).catch(() => {});
    },
  };
}
