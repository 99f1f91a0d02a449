import { setTimeout as sleep } from "node:timers/promises";
import { type FailureRecord, isSuspended, type Manifest, PermanentFailure } from "@millrace/mail";
import { ZodError } from "zod";
import { type Emission, type Run, startRun } from "./context.ts";
import { JobsInHand } from "./jobs-in-hand.ts";
import type { NewEntry } from "./journal.ts";
import type { Settlement } from "./ledger.ts";
import { Effects, Overtaken } from "./once.ts";
import type { Pipeline } from "./open-pipeline.ts";
import { unitsFor } from "./publish.ts";
import { Abortion, delayAfter, eventOf, failureOf, foundAnotherEnd, runHandler } from "./run-handler.ts";
import { Trials } from "./trials.ts";
import type { FreshUnit, Unit, UnitRef } from "./unit.ts";
import { isWanted } from "./where.ts";
import { Snooze, type WorkerDefinition } from "./worker.ts";
import type { WorkerContext } from "./worker-context.ts";
import type { RunEnd } from "./worker-processes.ts";

/** Milliseconds a suspect stays away while others are tried, and up to as long again, by chance. */
const trialPause = 1_000;
/** Milliseconds a job for another version of the worker stays away, and up to as long again, by chance. */
const otherVersionPause = 1_000;

const noUnits: Settlement["opens"] = new Map();

/** What a run leaves behind. */
type Left = Pick<Settlement, "journal" | "opens">;

/** An entry of the pipeline's own, beside those of the events. */
type OwnEntry = Pick<NewEntry, "event" | "data">;

/** The process is stopping and the handler did not finish: not a failure, the job goes back as it was. */
class Interrupted extends Error {
  override name = "Interrupted";
}

/** BullMQ has refused, not Redis (its `ErrorCode`): the job is another process's by now, or gone. */
function isNotOurs(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return typeof code === "number" && code < 0;
}

function interruption(): Interrupted {
  return new Interrupted("the process is stopping");
}

/** What a worker's jobs are processed with. */
interface Processing {
  /** What the worker's schema made of its configuration. */
  config: unknown;
  /** Aborted when handlers that have not finished are to be left behind. */
  stopping: AbortSignal;
  /** Told of the end of each run. */
  count(end: RunEnd): void;
}

/** How a unit came to be taken, and the ways back into the queue for a run that does not end it. */
export interface Turn {
  /** What it was opened as, where nobody can have changed it since. */
  fresh: FreshUnit | undefined;
  /** A process that had it in hand has died. */
  survivor: boolean;
  /**
   * Has it taken again, not before that time. Never returns: what it throws ends the run.
   * @param due milliseconds since the epoch
   */
  later(due: number): Promise<never>;
  /** Hands it back, to be taken again at once. Never returns: what it throws ends the run. */
  back(): Promise<never>;
}

export interface JobProcessor {
  process(ref: UnitRef, turn: Turn): Promise<void>;
  /** Runs a step on Redis until it has worked, or the worker is to stop. */
  persistently<T>(step: () => Promise<T>): Promise<T>;
  /** Resolves when all ends of runs are in the ledger. */
  recorded(): Promise<void>;
}

/**
 * Makes what processes a worker's jobs: it calls the handler and sees to it that each run ends in the ledger, whatever
 * happens: done, deferred, dead, or handed back.
 */
export function jobProcessor(
  worker: WorkerDefinition,
  pipeline: Pipeline,
  { config, stopping, count }: Processing,
): JobProcessor {
  const { ledger, queues, log } = pipeline;
  const effects = new Effects(pipeline.effects, worker.name);
  const inHand = new JobsInHand(worker.name);
  const running = new Set<Abortion>();
  stopping.addEventListener("abort", () => {
    for (const each of running) each.abort(interruption());
  });
  const trials = new Trials();

  /** Runs a step on Redis until it has worked: a full or restarting Redis must not turn into a failed job. */
  const persistently = async <T>(step: () => Promise<T>): Promise<T> => {
    for (let tries = 0; ; tries++) {
      try {
        return await step();
      } catch (error) {
        // A record this version cannot read does not get better by trying; another version may read it.
        if (error instanceof ZodError) throw error;
        if (isNotOurs(error)) throw error;
        if (stopping.aborted) throw new Interrupted("stopping", { cause: error });
        log.warn({ worker: worker.name, err: error }, "Redis refused, trying again");
        await sleep(Math.min(100 * 2 ** tries, 5_000));
      }
    }
  };

  const settle = async (ref: UnitRef, manifest: Manifest, settlement: Settlement): Promise<void> => {
    const opened = await persistently(() => ledger.settle(ref, settlement));
    if (!opened) return;
    if (settlement.outcome !== "deferred" || settlement.journal.length > 0) count(settlement.outcome);
    for (const [name, unit] of settlement.opens) {
      void queues.wake(
        { message: ref.message, unit: name },
        opened.includes(name) ? { unit, manifest } : undefined,
      );
    }
  };

  /** Ends of runs that are on their way to the ledger while BullMQ is already told that their jobs are done. */
  const underWay = new Set<Promise<void>>();
  /**
   * Records that a job is done, and lets BullMQ complete it without waiting for the answer: both go over one connection,
   * so the ledger hears of it first. Should that fail and the other not, the unit is open with no job, and the reconciler
   * gives it one. Only so many at once as there are hands.
   */
  const settleDone = async (ref: UnitRef, manifest: Manifest, left: Left): Promise<void> => {
    const settled = settle(ref, manifest, { outcome: "done", ...left }).catch((error) => {
      if (!(error instanceof Interrupted))
        log.error({ worker: worker.name, job: ref.unit, message: ref.message, err: error }, "not recorded");
    });
    underWay.add(settled);
    void settled.then(() => underWay.delete(settled));
    if (underWay.size > worker.concurrency) await settled;
  };

  /** What a run leaves behind, whatever its end: the events, as journal entries and as work for subscribers. */
  const outcome = async (
    run: Run,
    emissions: readonly Emission[],
    started: number,
    own?: OwnEntry,
  ): Promise<Left> => {
    const at = Date.now();
    const about = { at, worker: worker.name, attempt: run.ctx.attempt, ms: at - started };
    const journal: NewEntry[] = emissions.map(({ event, data }) => ({ ...about, event, data }));
    if (own) journal.push({ ...about, ...own });
    const { manifest } = run.ctx;
    if (emissions.length === 0) return { journal, opens: noUnits };
    return { journal, opens: await persistently(() => unitsFor(pipeline, manifest, emissions, at)) };
  };

  /** @param unit as the last run has left it */
  const bury = async (ref: UnitRef, unit: Unit, run: Run, started: number, failure: FailureRecord) => {
    // What the run emitted after its last `progress` did not happen.
    run.emissions = [...(run.kept?.emissions ?? [])];
    if (await foundAnotherEnd(worker, ref, unit, run.ctx, failure)) {
      const left = await outcome(run, run.emissions, started, doneEntry(run, ref));
      return settleDone(ref, run.ctx.manifest, left);
    }
    const { data, attempts } = unit;
    const done = await persistently(() => pipeline.effects.ofWorker(ref.message, worker.name));
    // All a replay needs is in the entry: when it comes, nothing else of the job may be left.
    const work = { event: unit.event, at: unit.at, data, ...(done ? { effects: done } : {}) };
    const entry = { event: "job.dead", data: { ...data, job: ref.unit, attempts, failure, work } };
    run.ctx.log.error({ job: ref.unit, failure }, "dead-lettered");
    const left = await outcome(run, run.kept?.emissions ?? [], started, entry);
    await settle(ref, run.ctx.manifest, { outcome: "dead", unit, ...left });
  };

  /** What an interrupted run had already done is not done again by the next one. */
  const keepProgress = async (ref: UnitRef, unit: Unit, run: Run, started: number): Promise<void> => {
    if (!run.kept) return;
    const { data, emissions } = run.kept;
    const rest = { outcome: "deferred" as const, unit: { ...unit, data } };
    await settle(ref, run.ctx.manifest, { ...rest, ...(await outcome(run, emissions, started)) });
  };

  const process = async (ref: UnitRef, turn: Turn): Promise<void> => {
    const { message, unit: name } = ref;
    const begun = turn.fresh ?? (await persistently(() => ledger.begin(ref)));
    // Settled by an earlier run that did not live to complete its job.
    if (!begun) return;
    const { manifest } = begun;
    if (isOfAnotherVersion(begun.unit)) {
      return turn.later(Date.now() + otherVersionPause * (1 + Math.random()));
    }
    const { unit, endTrial } = await beginTrial(turn, ref, begun.unit);
    const abortion = new Abortion();
    running.add(abortion);
    const crashes = begun.unit.trials ?? 0;
    const started = Date.now();
    const once = effects.once(ref, persistently);
    const run = startRun(worker, pipeline, {
      ...{ ref, unit, manifest, crashes, config, once, abortion },
    });
    const letGo = inHand.take({ message, job: name, attempt: run.ctx.attempt });
    try {
      if (crashes >= worker.maxCrashes) {
        throw new PermanentFailure(`${crashes} processes died over it`, { code: "CRASHED", status: "5.3.0" });
      }
      if (!worker.handles.includes(unit.event)) {
        throw new PermanentFailure(
          `${worker.name} does not subscribe to ${unit.event} any more, and this was left from when it did`,
          { code: "NOT_SUBSCRIBED" },
        );
      }
      if (stopping.aborted) abortion.abort(interruption());
      if (await isUnwanted(unit, run.ctx)) {
        const entry = { event: "job.unwanted", data: { job: name } };
        return await settleDone(ref, manifest, await outcome(run, [], started, entry));
      }
      await runHandler(worker, eventOf(worker, ref, unit), run.ctx, abortion);
      const left = await outcome(run, run.emissions, started, doneEntry(run, ref));
      await settleDone(ref, manifest, left);
    } catch (error) {
      if (error instanceof Interrupted) {
        // A shutdown in order is no death.
        if (endTrial) await persistently(() => ledger.note(ref, begun.unit));
        await keepProgress(ref, begun.unit, run, started);
        run.ctx.log.info({ job: name }, "handed back");
        return await turn.back();
      }
      // Another run has recorded its end: nothing is left for this one.
      if (error instanceof Overtaken) return;
      if (error instanceof Snooze) {
        if (endTrial) await persistently(() => ledger.note(ref, begun.unit));
        return await turn.later(Date.now() + error.delay);
      }
      const failure = failureOf(error);
      const suspended = isSuspended(error);
      const attempts = unit.attempts + (suspended ? 0 : 1);
      const next: Unit = { ...unit, data: run.kept?.data ?? unit.data, attempts };
      const wait = failure.permanent ? undefined : delayAfter(worker, next, error);
      if (wait === undefined) return await bury(ref, next, run, started, failure);
      const nextAttemptAt = Date.now() + wait;
      // A suspension that has told of itself needs no entry of ours: there may be many of them.
      const entry =
        suspended && run.kept?.emissions.length
          ? undefined
          : { event: "job.deferred", data: { job: name, failure, nextAttemptAt } };
      if (suspended) run.ctx.log.debug({ job: name, failure, nextAttemptAt }, "suspended");
      else run.ctx.log.warn({ job: name, failure, nextAttemptAt }, "deferred");
      const left = await outcome(run, run.kept?.emissions ?? [], started, entry);
      await settle(ref, manifest, { outcome: "deferred", unit: next, ...left });
      await turn.later(nextAttemptAt);
    } finally {
      letGo();
      endTrial?.();
      running.delete(abortion);
    }
  };

  /** A job that outlived its process is tried as a suspect, with a mark that only an end of the run takes away. */
  const beginTrial = async (turn: Turn, ref: UnitRef, unit: Unit) => {
    const deaths = unit.trials ?? 0;
    if (!turn.survivor && deaths === 0) return { unit, endTrial: undefined };
    const endTrial = trials.begin(deaths);
    if (!endTrial) return turn.later(Date.now() + trialPause * (1 + Math.random()));
    log.warn(
      { worker: worker.name, message: ref.message, job: ref.unit, deaths: deaths + 1 },
      "job outlived its process, tried as a suspect",
    );
    await persistently(() => ledger.note(ref, { ...unit, trials: deaths + 1 }));
    const { trials: _, ...survived } = unit;
    return { unit: survived, endTrial };
  };

  /** In a rolling deployment: a newer version has subscribed to what this one does not know. That one is to have it. */
  const isOfAnotherVersion = ({ event }: Unit): boolean =>
    !worker.handles.includes(event) &&
    pipeline.subscriptions.of(worker.name)?.events.includes(event) === true;

  /** The filter could not be told when the event was recorded: see `unitsFor`. */
  const isUnwanted = async (unit: Unit, ctx: WorkerContext): Promise<boolean> =>
    unit.unfiltered === true &&
    worker.where !== undefined &&
    isWanted(worker.where, ctx.manifest, await ctx.parsed()) === false;

  return {
    process,
    persistently,
    async recorded() {
      await Promise.all(underWay);
    },
  };
}

/** A run that emits is told by its events; one that does not leaves an entry of its own. */
function doneEntry(run: Run, ref: UnitRef): OwnEntry | undefined {
  if (run.emissions.length > 0) return undefined;
  return { event: "job.done", data: { job: ref.unit } };
}
