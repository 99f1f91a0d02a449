import { batched } from "@millrace/spool";
import { DelayedError, type Job, WaitingError } from "bullmq";
import { Hands } from "./hands.ts";
import type { JobProcessor, Turn } from "./job-processor.ts";
import type { Pipeline } from "./open-pipeline.ts";
import type { Separation } from "./queues.ts";
import { type JobData, jobDataSchema, type UnitRef, type Waking } from "./unit.ts";
import type { WorkerDefinition } from "./worker.ts";

/** Milliseconds a unit may wait here for a hand that others of its process are using; then any process may take it. */
const waitWithin = 1_000;

/** A unit of a group has got a job of its own, and its run here is over. */
class Separated extends Error {
  override name = "Separated";
}

/**
 * Makes what BullMQ calls with a worker's jobs. A job of one unit is that unit's turn. The units of a group are handled
 * side by side, as far as there are hands; one that is not to end here and now gets a job of its own, so that each has its
 * own retries, and none waits for another.
 *
 * A group is taken once. When its process has died, or has handed it back, the next one only gives each unit a job of
 * its own: who of them killed it is found out one by one.
 */
export function jobTaker(
  { concurrency }: Pick<WorkerDefinition, "concurrency">,
  { queues, log }: Pick<Pipeline, "queues" | "log">,
  { process, persistently }: Pick<JobProcessor, "process" | "persistently">,
  stopping: AbortSignal,
): (job: Job<JobData>, token: string | undefined) => Promise<void> {
  const hands = new Hands(concurrency);
  // Those whose time is up leave together: a Redis that refuses them is asked again once, not once for each.
  const separating = batched<Separation, undefined>(async (all) => {
    await persistently(() => queues.separate(all));
    return all.map(() => undefined);
  }, 1_000);

  const takeOne = async (job: Job<JobData>, token: string | undefined, waking: Waking, survivor: boolean) => {
    const turn: Turn = {
      fresh: job.attemptsStarted === 1 && !survivor ? waking.fresh : undefined,
      survivor,
      async later(due) {
        await persistently(() => job.moveToDelayed(due, token));
        throw new DelayedError();
      },
      async back() {
        await persistently(() => job.moveToWait(token));
        throw new WaitingError();
      },
    };
    const letGo = await hands.take(waitWithin);
    try {
      if (!letGo || stopping.aborted) return await turn.back();
      await process(refOf(waking), turn);
    } finally {
      letGo?.();
    }
  };

  const runOfGroup = async (waking: Waking, letGo: () => void): Promise<void> => {
    const ref = refOf(waking);
    const separate = async (due?: number) => {
      await separating.add({ ...ref, due });
      throw new Separated();
    };
    const turn: Turn = { fresh: waking.fresh, survivor: false, later: separate, back: () => separate() };
    try {
      await process(ref, turn);
    } catch (error) {
      if (error instanceof Separated) return;
      log.error({ message: ref.message, job: ref.unit, err: error }, "run broke off, to be taken again");
      await separating.add(ref);
    } finally {
      letGo();
    }
  };

  const takeGroup = async (group: readonly Waking[]): Promise<void> => {
    const deadline = performance.now() + waitWithin;
    const runs: Promise<void>[] = [];
    for (const [at, waking] of group.entries()) {
      const letGo = await hands.take(Math.max(deadline - performance.now(), 0));
      if (!letGo || stopping.aborted) {
        letGo?.();
        runs.push(...group.slice(at).map((each) => separating.add(refOf(each)).then(() => {})));
        break;
      }
      runs.push(runOfGroup(waking, letGo));
    }
    const ended = await Promise.allSettled(runs);
    // One that could not be given a job of its own: the group's job stays, and is found by whoever has Redis back.
    for (const each of ended) if (each.status === "rejected") throw each.reason;
  };

  return async (job, token) => {
    const data = jobDataSchema.parse(job.data);
    const died = job.stalledCounter > 0;
    if (data.v === 1) return takeOne(job, token, data, died || data.survivor === true);
    const { group } = data;
    if (died || job.attemptsStarted > 1) {
      await persistently(() => queues.separate(group.map((ref) => ({ ...ref, survivor: died }))));
    } else {
      await takeGroup(group);
    }
    // Before the job's own end, and on the same connection. What this leaves when it fails, the reconciler sweeps away.
    const name = job.id as string;
    void queues.groups.disband(job.name, name, group).catch(() => {});
  };
}

function refOf({ message, unit }: Waking): UnitRef {
  return { message, unit };
}
