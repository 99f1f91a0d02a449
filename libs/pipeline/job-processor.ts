import { setTimeout as sleep } from "node:timers/promises";
import {
  describeFailure,
  type FailureRecord,
  PermanentFailure,
  Suspended,
  TemporaryFailure,
} from "@millrace/mail";
import { DelayedError, type Job, WaitingError } from "bullmq";
import { ZodError } from "zod";
import { type Emission, type Run, startRun, unitsFor } from "./context.ts";
import type { NewEntry } from "./journal.ts";
import type { Settlement } from "./ledger.ts";
import type { Pipeline } from "./open-pipeline.ts";
import { defaultRetry, retryDelay } from "./retry.ts";
import { Trials } from "./trials.ts";
import { type JobData, jobDataSchema, type Unit, type UnitRef } from "./unit.ts";
import { Snooze, type WorkerDefinition } from "./worker.ts";

/** Milliseconds a handler has between its signal and being left behind. */
export const giveUpWithin = 1_000;
/** Milliseconds a suspect stays away while others are tried, and up to as long again, by chance. */
const trialPause = 1_000;

/** An entry of the pipeline's own, beside those of the events. */
type OwnEntry = Pick<NewEntry, "event" | "data">;

/** The process is stopping and the handler did not finish: not a failure, the job goes back as it was. */
class Interrupted extends Error {
  override name = "Interrupted";
}

/**
 * Makes what processes a worker's jobs: it calls the handler and sees to it that each run ends in the ledger, whatever
 * happens: done, deferred, dead, or handed back.
 * @param stopping aborted when handlers that have not finished are to be left behind
 */
export function jobProcessor(
  worker: WorkerDefinition,
  pipeline: Pipeline,
  stopping: AbortSignal,
): (job: Job<JobData>, token: string | undefined) => Promise<void> {
  const { ledger, queues, log } = pipeline;
  const trials = new Trials();

  /** Runs a step on Redis until it has worked: a full or restarting Redis must not turn into a failed job. */
  const persistently = async <T>(step: () => Promise<T>): Promise<T> => {
    for (let tries = 0; ; tries++) {
      try {
        return await step();
      } catch (error) {
        // A record this version cannot read does not get better by trying; another version may read it.
        if (error instanceof ZodError) throw error;
        if (stopping.aborted) throw new Interrupted("stopping", { cause: error });
        log.warn({ worker: worker.name, err: error }, "Redis refused, trying again");
        await sleep(Math.min(100 * 2 ** tries, 5_000));
      }
    }
  };

  const settle = async (ref: UnitRef, settlement: Settlement): Promise<void> => {
    const settled = await persistently(() => ledger.settle(ref, settlement));
    if (!settled) return;
    for (const unit of settlement.opens.keys()) void queues.wake({ message: ref.message, unit });
  };

  /** What a run leaves behind, whatever its end: the events, as journal entries and as work for subscribers. */
  const outcome = (run: Run, emissions: readonly Emission[], started: number, own?: OwnEntry) => {
    const at = Date.now();
    const about = { at, worker: worker.name, attempt: run.ctx.attempt, ms: at - started };
    const journal: NewEntry[] = emissions.map(({ event, data }) => ({ ...about, event, data }));
    if (own) journal.push({ ...about, ...own });
    return { journal, opens: unitsFor(pipeline, emissions, at) };
  };

  const handle = async (run: Run, ref: UnitRef, unit: Unit, controller: AbortController): Promise<void> => {
    const timer = setTimeout(
      () =>
        controller.abort(new TemporaryFailure(`took longer than ${worker.timeout} ms`, { code: "TIMEOUT" })),
      worker.timeout,
    );
    try {
      const aborted = new Promise<never>((_, reject) => {
        // A handler that heeds the signal ends first and cleanly; one that does not is left behind.
        controller.signal.addEventListener("abort", () => {
          setTimeout(reject, giveUpWithin, controller.signal.reason).unref();
        });
      });
      const event = { name: unit.event, message: ref.message, at: unit.at, data: unit.data };
      await Promise.race([Promise.resolve(worker.handle(event, run.ctx)), aborted]);
    } catch (error) {
      throw controller.signal.aborted ? controller.signal.reason : error;
    } finally {
      clearTimeout(timer);
    }
  };

  /** Asks the worker for another end than the dead letters, for `unit` as the last run has left it. */
  const foundAnotherEnd = async (ref: UnitRef, unit: Unit, run: Run, failure: FailureRecord) => {
    if (!worker.lastResort) return false;
    // What the run emitted after its last `progress` did not happen.
    run.emissions = [...(run.kept?.emissions ?? [])];
    const event = { name: unit.event, message: ref.message, at: unit.at, data: unit.data };
    try {
      return await worker.lastResort(event, run.ctx, failure);
    } catch (error) {
      run.ctx.log.error({ job: ref.unit, err: error }, "found no other end");
      return false;
    }
  };

  /** @param unit as the last run has left it */
  const bury = async (ref: UnitRef, unit: Unit, run: Run, started: number, failure: FailureRecord) => {
    if (await foundAnotherEnd(ref, unit, run, failure)) {
      await settle(ref, {
        outcome: "done",
        ...outcome(run, run.emissions, started, doneEntry(run, ref)),
      });
      return;
    }
    const { data, attempts } = unit;
    // All a replay needs is in the entry: when it comes, nothing else of the job may be left.
    const work = { event: unit.event, at: unit.at, data };
    const entry = { event: "job.dead", data: { ...data, job: ref.unit, attempts, failure, work } };
    run.ctx.log.error({ job: ref.unit, failure }, "dead-lettered");
    await settle(ref, {
      outcome: "dead",
      unit,
      ...outcome(run, run.kept?.emissions ?? [], started, entry),
    });
  };

  /** What an interrupted run had already done is not done again by the next one. */
  const keepProgress = async (ref: UnitRef, unit: Unit, run: Run, started: number): Promise<void> => {
    if (!run.kept) return;
    const { data, emissions } = run.kept;
    const rest = { outcome: "deferred" as const, unit: { ...unit, data } };
    await settle(ref, { ...rest, ...outcome(run, emissions, started) });
  };

  const processJob = async (job: Job<JobData>, token: string | undefined): Promise<void> => {
    const { message, unit: name } = jobDataSchema.parse(job.data);
    const ref = { message, unit: name };
    const begun = await persistently(() => ledger.begin(ref));
    // Settled by an earlier run that did not live to complete its job.
    if (!begun) return;
    const { manifest } = begun;
    const { unit, endTrial } = await beginTrial(job, token, ref, begun.unit);
    const controller = new AbortController();
    const interrupt = () => controller.abort(new Interrupted("the process is stopping"));
    stopping.addEventListener("abort", interrupt);
    const crashes = begun.unit.trials ?? 0;
    const started = Date.now();
    const run = startRun(worker, pipeline, { ref, unit, manifest, crashes, signal: controller.signal });
    try {
      if (crashes >= worker.maxCrashes) {
        throw new PermanentFailure(`${crashes} processes died over it`, { code: "CRASHED", status: "5.3.0" });
      }
      if (stopping.aborted) interrupt();
      await handle(run, ref, unit, controller);
      await settle(ref, { outcome: "done", ...outcome(run, run.emissions, started, doneEntry(run, ref)) });
    } catch (error) {
      if (error instanceof Interrupted) {
        // A shutdown in order is no death.
        if (endTrial) await persistently(() => ledger.note(ref, begun.unit));
        await keepProgress(ref, begun.unit, run, started);
        await job.moveToWait(token);
        run.ctx.log.info({ job: name }, "handed back");
        throw new WaitingError();
      }
      if (error instanceof Snooze) {
        if (endTrial) await persistently(() => ledger.note(ref, begun.unit));
        await persistently(() => job.moveToDelayed(Date.now() + error.delay, token));
        throw new DelayedError();
      }
      const failure = describeFailure(error);
      const suspended = error instanceof Suspended;
      const attempts = unit.attempts + (suspended ? 0 : 1);
      const next: Unit = { ...unit, data: run.kept?.data ?? unit.data, attempts };
      const wait = failure.permanent ? undefined : delayAfter(error, next);
      if (wait === undefined) return await bury(ref, next, run, started, failure);
      const nextAttemptAt = Date.now() + wait;
      // A suspension that has told of itself needs no entry of ours: there may be many of them.
      const entry =
        suspended && run.kept?.emissions.length
          ? undefined
          : { event: "job.deferred", data: { job: name, failure, nextAttemptAt } };
      if (suspended) run.ctx.log.debug({ job: name, failure, nextAttemptAt }, "suspended");
      else run.ctx.log.warn({ job: name, failure, nextAttemptAt }, "deferred");
      await settle(ref, {
        outcome: "deferred",
        unit: next,
        ...outcome(run, run.kept?.emissions ?? [], started, entry),
      });
      await persistently(() => job.moveToDelayed(nextAttemptAt, token));
      throw new DelayedError();
    } finally {
      endTrial?.();
      stopping.removeEventListener("abort", interrupt);
    }
  };

  /** A job that outlived its process is tried as a suspect, with a mark that only an end of the run takes away. */
  const beginTrial = async (job: Job<JobData>, token: string | undefined, ref: UnitRef, unit: Unit) => {
    const deaths = unit.trials ?? 0;
    if (job.stalledCounter === 0 && deaths === 0) return { unit, endTrial: undefined };
    const endTrial = trials.begin(deaths);
    if (!endTrial) {
      await persistently(() => job.moveToDelayed(Date.now() + trialPause * (1 + Math.random()), token));
      throw new DelayedError();
    }
    await persistently(() => ledger.note(ref, { ...unit, trials: deaths + 1 }));
    const { trials: _, ...survived } = unit;
    return { unit: survived, endTrial };
  };

  const delayAfter = (error: unknown, unit: Unit): number | undefined => {
    const policy = typeof worker.retry === "function" ? worker.retry(unit.data) : worker.retry;
    return retryDelay(policy ?? defaultRetry, {
      attempts: unit.attempts,
      age: Date.now() - unit.at,
      asked: error instanceof TemporaryFailure ? error.retryAfter : undefined,
      suspended: error instanceof Suspended,
    });
  };

  return processJob;
}

/** A run that emits is told by its events; one that does not leaves an entry of its own. */
function doneEntry(run: Run, ref: UnitRef): OwnEntry | undefined {
  if (run.emissions.length > 0) return undefined;
  return { event: "job.done", data: { job: ref.unit } };
}
