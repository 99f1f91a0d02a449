import { setTimeout as sleep } from "node:timers/promises";
import { failFast } from "@millrace/service";
import { type Job, type Processor, WaitingError, type Worker } from "bullmq";
import { queueKeys } from "./keys.ts";
import type { Pipeline } from "./open-pipeline.ts";
import type { JobData } from "./unit.ts";

/** Milliseconds between two looks, at most. */
const longestPause = 2_000;

/** A BullMQ worker that is replaced when it has stopped taking jobs. */
export interface WatchedWorker {
  /** Ends it: takes no more jobs and, unless forced, waits for those under way. */
  close(force?: boolean): Promise<void>;
}

interface Instance {
  bull: Worker<JobData>;
  inHand: number;
  /** It may finish what it has, and takes nothing more. */
  retired: boolean;
}

/**
 * Runs a BullMQ worker and watches that it works. After a lost connection such a worker can fall silent for good,
 * without an error (BullMQ #3185, #2466): its command waits for an answer on a connection nobody is at the other end
 * of. What gives it away is a job that goes on waiting while there is a free hand for it, seen through a connection
 * of the watch's own. Then a connection that does not answer is made anew; where it does answer, the worker is
 * replaced.
 *
 * @param create makes the worker around what is to process its jobs
 * @param idleAfter milliseconds a job may wait for a free hand
 */
export function watchedWorker(
  { name, concurrency }: { name: string; concurrency: number },
  pipeline: Pick<Pipeline, "redis" | "log">,
  process: (job: Job<JobData>, token: string | undefined) => Promise<void>,
  create: (processor: Processor<JobData>) => Worker<JobData>,
  idleAfter: number,
): WatchedWorker {
  const { redis, log } = pipeline;
  const every = Math.min(longestPause, idleAfter / 5);
  const keys = queueKeys(name);
  const probe = redis.duplicate(failFast);
  probe.on("error", () => {});
  const ended = new AbortController();
  const retired = new Set<Instance>();

  /** The job that was the newest of all that wait, and since when that has been watched. */
  let witness: { id: string; since: number } | undefined;
  /** Since when the connection all else runs over owes an answer. */
  let asked: number | undefined;
  const forget = () => {
    witness = undefined;
  };

  const startOver = () => {
    forget();
    asked = undefined;
  };

  const start = (): Instance => {
    const instance: Partial<Instance> = { inHand: 0, retired: false };
    instance.bull = create(async (job, token) => {
      const self = instance as Instance;
      if (self.retired) {
        await job.moveToWait(token ?? "").catch(() => {});
        throw new WaitingError();
      }
      forget();
      self.inHand++;
      try {
        await process(job, token);
      } finally {
        self.inHand--;
      }
    });
    // Whoever is refused has asked: that is not the silence this is about.
    instance.bull.on("error", forget);
    return instance as Instance;
  };
  let current = start();

  const retire = (instance: Instance): void => {
    instance.retired = true;
    retired.add(instance);
    void instance.bull.pause(true).catch(() => {});
  };

  /** Whether a job has waited for `idleAfter` in which a free hand should have taken it. */
  const isIdle = async (): Promise<boolean> => {
    if (current.inHand >= concurrency || current.bull.isPaused()) {
      forget();
      return false;
    }
    const [paused, newest, place] = await Promise.all([
      probe.hexists(keys.meta, "paused"),
      probe.lindex(keys.wait, 0),
      witness ? probe.lpos(keys.wait, witness.id) : null,
    ]);
    const now = performance.now();
    if (paused || newest === null) forget();
    // Another process has taken it meanwhile, or it is the first that is seen.
    else if (!witness || place === null) witness = { id: newest, since: now };
    // It waited all that time and so did every older one: the queue was never empty, and nobody here took any.
    return witness !== undefined && now - witness.since >= idleAfter;
  };

  /** Milliseconds the connection all else runs over has owed an answer. */
  const silence = (): number => {
    if (asked === undefined) {
      asked = performance.now();
      const answered = () => {
        asked = undefined;
      };
      redis.ping().then(answered, answered);
    }
    return performance.now() - asked;
  };

  const look = async (): Promise<void> => {
    const [idle] = await Promise.all([isIdle(), probe.ping()]);
    if (ended.signal.aborted) return;
    const silentMs = Math.round(silence());
    if (silentMs >= idleAfter) {
      log.error({ worker: name, silentMs }, "connection to Redis silent, made anew");
      startOver();
      // What waits for an answer on it is asked again on the next, and the worker goes on.
      redis.disconnect(true);
    } else if (idle && silentMs < every) {
      log.error({ worker: name, job: witness?.id, idleMs: idleAfter }, "worker takes no jobs, started anew");
      forget();
      retire(current);
      current = start();
    }
    for (const instance of retired) {
      if (instance.inHand > 0 || instance === current) continue;
      retired.delete(instance);
      instance.bull.close(true).catch(() => {});
    }
  };

  const loop = async () => {
    for (let last = performance.now(); !ended.signal.aborted; ) {
      await sleep(every, undefined, { ref: false, signal: ended.signal }).catch(() => {});
      const late = performance.now() - last > 2 * every + 1_000;
      last = performance.now();
      if (late) {
        // This process was held up itself: nothing it has not done meanwhile says anything.
        startOver();
      } else if (!ended.signal.aborted) {
        // When Redis cannot be asked, that is another trouble, and every client's own.
        await look().catch(startOver);
        last = performance.now();
      }
    }
  };
  void loop();

  return {
    async close(force = false) {
      ended.abort();
      probe.disconnect();
      const all = [current, ...retired];
      await Promise.all(all.map(({ bull, retired: given }) => bull.close(force || given)));
    },
  };
}
