import {
  askedToWait,
  describeFailure,
  type FailureRecord,
  isSuspended,
  PermanentFailure,
  TemporaryFailure,
} from "@millrace/mail";
import { z } from "zod";
import { defaultRetry, retryDelay } from "./retry.ts";
import { sourceOf } from "./source-of.ts";
import type { Unit, UnitRef } from "./unit.ts";
import type { WorkerDefinition } from "./worker.ts";
import type { PipelineEvent, WorkerContext } from "./worker-context.ts";

/** Milliseconds a handler has between its signal and being left behind. */
export const giveUpWithin = 1_000;

/** What a worker is called with for a unit of work. @throws PermanentFailure when the event carries what it may not */
export function eventOf(
  worker: WorkerDefinition,
  { message }: Pick<UnitRef, "message">,
  unit: Unit,
): PipelineEvent {
  const { event: name, at } = unit;
  const schema = worker.accepts[name];
  if (!schema) return { name, message, at, data: unit.data };
  const data = schema.safeParse(unit.data);
  if (data.success) return { name, message, at, data: data.data };
  throw new PermanentFailure(
    `${name} carries what ${worker.name} does not accept: ${z.prettifyError(data.error)}`,
    {
      code: "EVENT_INVALID",
    },
  );
}

/** What may end a run before its handler does. Its signal is made when somebody asks for it: most handlers never do. */
export class Abortion {
  private controller: AbortController | undefined;
  private reason: Error | undefined;
  private onAbort: ((reason: Error) => void) | undefined;

  get signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.reason) this.controller.abort(this.reason);
    return this.controller.signal;
  }

  /** Why the run is to end; undefined while it is not. */
  get why(): Error | undefined {
    return this.reason;
  }

  abort(reason: Error): void {
    if (this.reason) return;
    this.reason = reason;
    this.controller?.abort(reason);
    this.onAbort?.(reason);
  }

  /** @param heard called once, at once if it has come to it already */
  heed(heard: (reason: Error) => void): void {
    this.onAbort = heard;
    if (this.reason) heard(this.reason);
  }
}

/**
 * Runs a handler within its time. One that heeds its signal ends first and cleanly; one that does not is left behind.
 * @throws what the handler threw; once the run is aborted, the reason for that
 */
export async function runHandler(
  worker: WorkerDefinition,
  event: PipelineEvent,
  ctx: WorkerContext,
  abortion: Abortion,
): Promise<void> {
  const timer = setTimeout(
    () => abortion.abort(new TemporaryFailure(`took longer than ${worker.timeout} ms`, { code: "TIMEOUT" })),
    worker.timeout,
  );
  let leaving: NodeJS.Timeout | undefined;
  try {
    await new Promise<unknown>((resolve, reject) => {
      abortion.heed((reason) => {
        leaving = setTimeout(reject, giveUpWithin, reason);
        leaving.unref();
      });
      // One that throws before its first await is no different from one that rejects.
      Promise.resolve(worker.handle(event, ctx)).then(resolve, reject);
    });
  } catch (error) {
    throw abortion.why ?? error;
  } finally {
    clearTimeout(timer);
    clearTimeout(leaving);
  }
}

/**
 * Asks a worker for another end than the dead letters.
 * @param unit as the last run has left it
 */
export async function foundAnotherEnd(
  worker: WorkerDefinition,
  ref: UnitRef,
  unit: Unit,
  ctx: WorkerContext,
  failure: FailureRecord,
): Promise<boolean> {
  if (!worker.lastResort) return false;
  const event = { name: unit.event, message: ref.message, at: unit.at, data: unit.data };
  try {
    return await worker.lastResort(event, ctx, failure);
  } catch (error) {
    ctx.log.error({ job: ref.unit, err: error }, "found no other end");
    return false;
  }
}

/** What was thrown, as a record, with the line of the worker's own code it came from. */
export function failureOf(error: unknown): FailureRecord {
  const at = sourceOf(error);
  return { ...describeFailure(error), ...(at === undefined ? {} : { at }) };
}

/**
 * Milliseconds until a failed job is tried again; undefined when it is not.
 * @param unit with the attempt that has failed counted
 */
export function delayAfter(worker: WorkerDefinition, unit: Unit, error: unknown): number | undefined {
  if (isSuspended(error)) return error.retryAfter;
  const policy = typeof worker.retry === "function" ? worker.retry(unit.data) : worker.retry;
  return retryDelay(policy ?? defaultRetry, {
    attempts: unit.attempts,
    age: Date.now() - unit.at,
    asked: askedToWait(error),
  });
}
