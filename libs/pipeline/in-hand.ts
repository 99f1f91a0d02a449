import { hostname } from "node:os";
import type { MessageId } from "@millrace/mail";
import { jobKey } from "./keys.ts";
import type { Pipeline } from "./open-pipeline.ts";
import { jobDataSchema, wakingsOf } from "./unit.ts";

/** What a job says of the process that took it. */
export function processName(pid: number = process.pid): string {
  return `${hostname()}/${pid}`;
}

/** A job whose process ended over it, or beside it. */
export interface LostJob {
  message: MessageId;
  unit: string;
  event: string;
  /** The attempt that was under way, from 1. */
  attempt: number;
}

/**
 * Gives back the jobs that a process of this machine had in hand when it ended, which must be certain: else they wait
 * until their locks have run out.
 *
 * @param blame whether it died by itself: then each of them is a suspect from now on; see `Trials`
 */
export async function takeBack(
  { queues, ledger, redis }: Pick<Pipeline, "queues" | "ledger" | "redis">,
  worker: string,
  { pid, blame }: { pid: number; blame: boolean },
): Promise<LostJob[]> {
  const lost: LostJob[] = [];
  for (const job of await queues.active(worker)) {
    if (job.processedBy !== processName(pid)) continue;
    for (const ref of wakingsOf(jobDataSchema.parse(job.data))) {
      const begun = await ledger.begin(ref);
      if (!begun) continue;
      const { unit } = begun;
      // A trial under way is counted already: who died by itself keeps it, and who was ended gets it back.
      const trials = blame ? Math.max(unit.trials ?? 0, 1) : Math.max((unit.trials ?? 0) - 1, 0);
      if (trials !== (unit.trials ?? 0)) await ledger.note(ref, { ...unit, trials });
      lost.push({ message: ref.message, unit: ref.unit, event: unit.event, attempt: unit.attempts + 1 });
    }
    const token = await redis.get(`${jobKey(worker, job.id as string)}:lock`);
    // Without its lock it is found as stalled, and so it is if another process was quicker.
    if (token !== null) await job.moveToWait(token).catch(() => {});
  }
  return lost;
}

/** Jobs that are looked at for being tried at once. */
const most = 1_000;

/** Has the jobs that failed and wait for their next attempt tried at once. @returns how many */
export async function retryNow(
  { queues, ledger }: Pick<Pipeline, "queues" | "ledger">,
  worker: string,
): Promise<number> {
  let count = 0;
  for (const job of await queues.delayed(worker, most)) {
    // What is due later always has a job of its own.
    const [ref] = wakingsOf(jobDataSchema.parse(job.data));
    const begun = ref && (await ledger.begin(ref));
    // A snooze has asked for its time; only a failure may be over already.
    if (!begun || begun.unit.attempts === 0) continue;
    const promoted = await job.promote().then(
      () => true,
      () => false,
    );
    if (promoted) count++;
  }
  return count;
}
