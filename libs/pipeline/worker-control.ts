import type { Pipeline } from "./open-pipeline.ts";
import type { Subscription } from "./subscriptions.ts";
import { workerOf } from "./unit.ts";
import { runningProcesses, type WorkerProcess } from "./worker-processes.ts";

/** How a worker is. */
export interface WorkerState {
  subscription: Subscription;
  waiting: number;
  active: number;
  /** Due later: failed and to be tried again, or snoozed. */
  delayed: number;
  /** Milliseconds since the oldest of these was made. */
  oldestMs: number | null;
  paused: boolean;
  processes: WorkerProcess[];
}

export async function workerState(
  { queues, redis }: Pick<Pipeline, "queues" | "redis">,
  subscription: Subscription,
): Promise<WorkerState> {
  const { worker } = subscription;
  const [{ waiting, active, delayed }, oldest, paused, processes] = await Promise.all([
    queues.counts(worker),
    queues.oldestAge(worker),
    queues.isPaused(worker),
    runningProcesses(redis, worker),
  ]);
  return { subscription, waiting, active, delayed, oldestMs: oldest ?? null, paused, processes };
}

/** Messages looked at at once. */
const page = 1_000;

/**
 * Ends a worker: its subscription first, so that no new work of it is opened, then its open work, each piece with an entry
 * in the journal, then its queue. Dead letters stay. Told twice it goes on where it was.
 *
 * @param by who wants it: `user@host`
 * @param progress told of the pieces of work dropped so far
 * @returns how many pieces of work were dropped
 */
export async function removeWorker(
  { subscriptions, ledger, queues }: Pick<Pipeline, "subscriptions" | "ledger" | "queues">,
  worker: string,
  by: string,
  progress: (dropped: number) => void = () => {},
): Promise<number> {
  await subscriptions.remove(worker);
  let dropped = 0;
  for (let offset = 0; ; ) {
    const messages = await ledger.open(offset, page);
    let closed = 0;
    for (const { id } of messages) {
      const units = await ledger.unitsOf(id);
      const own = [...units].filter(([name, { dead }]) => !dead && workerOf(name) === worker);
      for (const [name] of own) {
        const data = { job: name, worker, by, reason: "worker removed" };
        const entry = { at: Date.now(), event: "job.discarded", worker: "workers", data };
        const settled = await ledger.settle(
          { message: id, unit: name },
          { outcome: "done", journal: [entry], opens: new Map() },
        );
        if (settled) dropped++;
      }
      // A message whose last work this was is gone from the list, and the others have moved up.
      if (own.length === units.size && own.length > 0) closed++;
    }
    progress(dropped);
    if (messages.length < page) break;
    offset += messages.length - closed;
  }
  await queues.obliterate(worker);
  return dropped;
}
