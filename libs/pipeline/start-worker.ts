import { setTimeout as sleep } from "node:timers/promises";
import { type Processor, Worker } from "bullmq";
import { watchedWorker } from "./idle-watch.ts";
import { processName } from "./in-hand.ts";
import { jobProcessor } from "./job-processor.ts";
import { jobTaker } from "./job-taker.ts";
import { queuePrefix } from "./keys.ts";
import type { Pipeline } from "./open-pipeline.ts";
import { restWhileFull } from "./rest-while-full.ts";
import { giveUpWithin } from "./run-handler.ts";
import { fingerprint, type Registration } from "./subscriptions.ts";
import type { JobData } from "./unit.ts";
import type { WorkerDefinition } from "./worker.ts";
import { announceProcess } from "./worker-processes.ts";

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

/** What BullMQ is told of every worker. */
export function workerOptions({
  lockDuration = defaultTiming.lockDuration,
  stalledInterval = defaultTiming.stalledInterval,
}: Partial<WorkerTiming>) {
  return {
    lockDuration,
    stalledInterval,
    // BullMQ must never bury a job by itself: how often is too often is `maxCrashes`, and the burial is ours.
    maxStalledCount: 1_000_000,
    removeOnComplete: { count: 0 },
    drainDelay: 5,
    runRetryDelay: 1_000,
  };
}

/**
 * Registers the worker's subscription and handles its jobs until it is stopped.
 * @param config what the worker's schema made of its configuration
 */
export async function startWorker(
  worker: WorkerDefinition,
  pipeline: Pipeline,
  timing: Partial<WorkerTiming> = {},
  config?: unknown,
): Promise<RunningWorker> {
  const { lockDuration, stalledInterval, finishWithin, idleAfter } = { ...defaultTiming, ...timing };
  const { log, redis } = pipeline;
  const stopping = new AbortController();
  tell(worker, await pipeline.subscriptions.register(worker), log);
  const { version, concurrency } = worker;
  const claim = fingerprint({ events: [...worker.on], where: worker.where });
  const announced = await announceProcess(redis, worker.name, { version, fingerprint: claim, concurrency });

  const open = (handle: Processor<JobData>) => {
    const bull = new Worker<JobData>(worker.name, handle, {
      name: processName(),
      connection: pipeline.redis,
      prefix: queuePrefix(worker.name),
      concurrency: worker.concurrency,
      ...workerOptions({ lockDuration, stalledInterval }),
    });
    bull.on("error", (error) => log.warn({ worker: worker.name, err: error }, "queue trouble"));
    restWhileFull(bull, log);
    return bull;
  };
  const processor = jobProcessor(worker, pipeline, {
    config,
    stopping: stopping.signal,
    count: (end) => announced.count(end),
  });
  const take = jobTaker(worker, pipeline, processor, stopping.signal);
  const bull = watchedWorker(worker, pipeline, take, open, idleAfter);

  return {
    async stop() {
      void announced.stop();
      const closed = bull.close().then(() => processor.recorded());
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

function tell(
  { name, version }: WorkerDefinition,
  { outcome, changes }: Registration,
  log: Pipeline["log"],
): void {
  const about = { worker: name, ...(version === undefined ? {} : { version }), changes };
  if (outcome === "new") log.info({ worker: name }, "subscription registered");
  if (outcome === "changed") log.info(about, "subscription changed");
  if (outcome === "kept") {
    log.warn(about, "a newer version of this worker is running, its subscription stands; this one's differs");
  }
}
