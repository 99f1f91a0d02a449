import type { Readable } from "node:stream";
import type {
  Envelope,
  FailureRecord,
  GrowingRetry,
  Manifest,
  MessageId,
  ParsedMessage,
  RetryPolicy,
} from "@millrace/mail";
import type { Logger } from "@millrace/service";
import type { z } from "zod";
import type { EventData, EventName } from "./events.ts";
import { defaultRetry } from "./retry.ts";

/** A fact a worker is called with. */
export interface PipelineEvent<Name extends string = string, Data = Record<string, unknown>> {
  name: Name;
  message: MessageId;
  /** Milliseconds since the epoch at which it was recorded; for a replay, at which it was replayed. */
  at: number;
  data: Data;
}

/** Own events of a worker: a name and the schema of what it carries. */
export type EmitSchemas = Record<string, z.ZodType<Record<string, unknown>>>;

type BuiltIn<E> = E extends EventName
  ? PipelineEvent<E, EventData<E>>
  : E extends string
    ? PipelineEvent<E>
    : never;

/** What a handler has at hand for one message. */
export interface WorkerContext {
  message: MessageId;
  manifest: Manifest;
  envelope: Envelope;
  /** The parsed message, from the spool or the mail store, whichever has it. */
  parsed(): Promise<ParsedMessage>;
  /** The raw message as a stream, our Received field first. */
  raw(): Promise<Readable>;
  /** The raw message in one piece: for messages known to be small. */
  read(): Promise<Buffer>;
  /** The decoded octets of one attachment, by its index in `parsed().attachments`. */
  attachment(index: number): Promise<Readable>;
  /**
   * Publishes an event. Nothing is sent before the handler returns: events and completion are recorded in one
   * step. Emitting the same event more than once needs a `key` that is the same at every run.
   */
  emit(event: string, data: Record<string, unknown>, options?: { key?: string }): void;
  /**
   * Keeps what this run has done so far even if it fails in the end: the events emitted until now are recorded
   * with the failure, and `data` is what the event carries at the next attempt.
   */
  progress(data: Record<string, unknown>): void;
  log: Logger;
  /** Aborted when the worker's time for the job is over, or when the process stops. */
  signal: AbortSignal;
  /** From 1. A snooze or a shutdown costs none. */
  attempt: number;
  /**
   * How often its process died while this job was tried as a suspect: at first together with others that were in hand
   * at a death, from the third time on with no other suspect beside it.
   */
  crashes: number;
  /** The same at every run of this job: for the far side to tell a repetition. */
  idempotencyKey: string;
}

/** A worker: a value, not a class. Made by {@link defineWorker}. */
export interface WorkerDefinition {
  name: string;
  on: readonly string[];
  concurrency: number;
  /** Milliseconds one run of the handler may take; then its signal aborts and the attempt counts as failed. */
  timeout: number;
  retry: RetryPolicy | RetryChoice;
  emits: EmitSchemas;
  /** Crashes of the process after which the job is a dead letter, so that a poison message ends. */
  maxCrashes: number;
  handle(event: PipelineEvent, ctx: WorkerContext): Promise<void> | void;
  /**
   * Called before a job becomes a dead letter, with what the event carries as the last run's `progress` left it.
   * True: the matter has found another end, and the job is done; what this emits is recorded with it. If it throws, the
   * job is a dead letter. May run more than once for one job.
   */
  lastResort?(event: PipelineEvent, ctx: WorkerContext, failure: FailureRecord): Promise<boolean>;
}

/** A policy for what a job carries, as `progress` left it; undefined for the default. Does not throw. */
export type RetryChoice = (data: Record<string, unknown>) => RetryPolicy | undefined;

export interface WorkerOptions<E extends string> {
  /** Lower case letters, digits and "-"; names the queue, the subscription and the log lines. */
  name: string;
  on: E | readonly E[];
  /** Jobs one process handles at once. Default 16. */
  concurrency?: number;
  /** Milliseconds. Default 60,000. */
  timeout?: number;
  /** What a growing policy leaves out is taken from the default; with `giveUpAfter`, attempts are not limited. */
  retry?: Partial<GrowingRetry> | RetryPolicy | RetryChoice;
  emits?: EmitSchemas;
  /** Default 5. */
  maxCrashes?: number;
  handle(event: BuiltIn<E>, ctx: WorkerContext): Promise<void> | void;
  lastResort?: WorkerDefinition["lastResort"];
}

/** Makes a worker out of its options, with the defaults filled in. @throws TypeError that names the worker and the option */
export function defineWorker<const E extends string>(options: WorkerOptions<E>): WorkerDefinition {
  const wrong = (what: string) => new TypeError(`worker ${JSON.stringify(options.name)}: ${what}`);
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(options.name)) {
    throw wrong(
      'a name is lower case letters, digits and "-", begins with a letter and has at most 63 characters',
    );
  }
  const on = [options.on].flat();
  if (on.length === 0) throw wrong("`on` names no event");
  const concurrency = options.concurrency ?? 16;
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw wrong("`concurrency` is a whole number from 1");
  const timeout = options.timeout ?? 60_000;
  if (!(timeout > 0)) throw wrong("`timeout` is a number of milliseconds above 0");
  return {
    name: options.name,
    on,
    concurrency,
    timeout,
    retry: completed(options.retry),
    emits: options.emits ?? {},
    maxCrashes: options.maxCrashes ?? 5,
    handle: options.handle as WorkerDefinition["handle"],
    ...(options.lastResort ? { lastResort: options.lastResort } : {}),
  };
}

function completed(retry: WorkerOptions<string>["retry"]): WorkerDefinition["retry"] {
  if (typeof retry === "function" || (retry && "delays" in retry)) return retry;
  // Who says how long means by that also how often.
  const { attempts, ...rest } = defaultRetry;
  return { ...rest, ...(retry?.giveUpAfter === undefined ? { attempts } : {}), ...retry };
}

/** "Not now": comes back later, at no attempt's cost. */
export class Snooze extends Error {
  override name = "Snooze";
  readonly delay: number;

  /** @param delay milliseconds */
  constructor(delay: number) {
    super(`snoozed for ${delay} ms`);
    this.delay = delay;
  }
}
