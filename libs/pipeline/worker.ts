import {
  type FailureRecord,
  type GrowingRetry,
  milliseconds,
  type RetryPolicy,
  retrySchema,
} from "@millrace/mail";
import { z } from "zod";
import { checkEventName, type EventDefinition, type EventSchema } from "./event-definition.ts";
import { type EventData, type EventName, events } from "./events.ts";
import { defaultRetry } from "./retry.ts";
import { type EnvelopeWhere, needsParsed, type StoredWhere, type Where, whereSchema } from "./where.ts";
import type { EmitSchemas, PipelineEvent, WorkerContext } from "./worker-context.ts";

/** An event to subscribe to: the name of a built-in or other one, or what `defineEvent` made. */
export type Subscribable = string | EventDefinition;

type EventOf<E> =
  E extends EventDefinition<infer Name, infer Schema>
    ? PipelineEvent<Name, z.output<Schema>>
    : E extends EventName
      ? PipelineEvent<E, EventData<E>>
      : E extends string
        ? PipelineEvent<E>
        : never;

/** Own events, by name or as a list of definitions. */
export type Emits = EmitSchemas | readonly EventDefinition[];
type OwnEvents<M> = M extends readonly EventDefinition[]
  ? { [D in M[number] as D["name"]]: D["schema"] }
  : M extends EmitSchemas
    ? M
    : Record<never, never>;

/** A worker: a value, not a class. Made by {@link defineWorker}. */
export interface WorkerDefinition<Config extends z.ZodType = z.ZodType> {
  name: string;
  /** For people: which one of several that run at once. */
  version: string | undefined;
  /** Events it subscribes to. */
  on: readonly string[];
  /** Events it is called with, should a job for one still wait: those of `on`, and of earlier versions. */
  handles: readonly string[];
  where: StoredWhere | undefined;
  config: Config | undefined;
  concurrency: number;
  /** Milliseconds one run of the handler may take; then its signal aborts and the attempt counts as failed. */
  timeout: number;
  retry: RetryPolicy | RetryChoice;
  emits: EmitSchemas;
  /** What each event it was given as a definition carries, by name. */
  accepts: EmitSchemas;
  /** Crashes of the process after which the job is a dead letter, so that a poison message ends. */
  maxCrashes: number;
  handle(event: PipelineEvent, ctx: WorkerContext): unknown;
  /**
   * Called before a job becomes a dead letter, with what the event carries as the last run's `progress` left it.
   * True: the matter has found another end, and the job is done; what this emits is recorded with it. If it throws, the
   * job is a dead letter. May run more than once for one job.
   */
  lastResort?(event: PipelineEvent, ctx: WorkerContext, failure: FailureRecord): Promise<boolean>;
}

/** A policy for what a job carries, as `progress` left it; undefined for the default. Does not throw. */
export type RetryChoice = (data: Record<string, unknown>) => RetryPolicy | undefined;

/** Delays as a route writes them: `["5s", "5m", "2h"]`, or `{ first: "10s", longest: "1h", giveUpAfter: "5d" }`. */
export type WrittenRetry = readonly string[] | { first?: string; longest?: string; giveUpAfter?: string };

export interface WorkerOptions<
  E extends Subscribable,
  C extends z.ZodType = z.ZodUndefined,
  M extends Emits = Record<never, never>,
> {
  /** Lower case letters, digits and "-"; names the queue, the subscription and the log lines. */
  name: string;
  /** For people, in `millrace workers`: which one of several that run at once. */
  version?: string;
  on: E | readonly E[];
  /** Events of earlier versions whose jobs may still wait: handled, no longer subscribed to. */
  stillHandles?: readonly string[];
  /** Which messages it wants. With `message.received`, only what the envelope and the size can tell. */
  where?: "message.received" extends E ? EnvelopeWhere : Where;
  /** What it is configured with: `workers.<name>` of the configuration file, and `<NAME>_<KEY>` of the environment. */
  config?: C;
  /** Jobs one process handles at once. Default 16. */
  concurrency?: number;
  /** How long one run may take: milliseconds, or a duration such as "30s". Default a minute. */
  timeout?: number | string;
  /**
   * When a failed attempt is followed by another. What a growing policy leaves out is taken from the default; with
   * `giveUpAfter`, attempts are not limited.
   */
  retry?: WrittenRetry | Partial<GrowingRetry> | RetryPolicy | RetryChoice;
  /** Events of its own, with what each carries. */
  emits?: M;
  /** Default 5. */
  maxCrashes?: number;
  /** What it returns does not matter; returning means done. */
  handle(event: EventOf<E>, ctx: WorkerContext<z.output<C>, OwnEvents<M>>): unknown;
  lastResort?: WorkerDefinition["lastResort"];
}

/** Makes a worker out of its options, with the defaults filled in. @throws TypeError that names the worker and the option */
export function defineWorker<
  const E extends Subscribable,
  C extends z.ZodType = z.ZodUndefined,
  const M extends Emits = Record<never, never>,
>(options: WorkerOptions<E, C, M>): WorkerDefinition<C> {
  const wrong = (what: string) => new TypeError(`worker ${JSON.stringify(options.name)}: ${what}`);
  const checked = <T>(option: string, read: () => T): T => {
    try {
      return read();
    } catch (error) {
      const reason = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
      throw wrong(`\`${option}\`: ${reason}`);
    }
  };

  if (typeof options.name !== "string" || !/^[a-z][a-z0-9-]{0,62}$/.test(options.name)) {
    throw wrong(
      'a name is lower case letters, digits and "-", begins with a letter and has at most 63 characters',
    );
  }
  if (typeof options.handle !== "function") throw wrong("`handle` is not a function");
  const subscribed = [options.on].flat() as Subscribable[];
  if (subscribed.length === 0) throw wrong("`on` names no event");
  const on = subscribed.map((each) => (typeof each === "string" ? each : each.name));
  for (const name of on) {
    if (!name || (/^(job|message|delivery|quarantine)\./.test(name) && !(name in events)))
      throw wrong(
        `\`on\`: there is no event ${JSON.stringify(name)}; those built in are ${Object.keys(events).join(", ")}`,
      );
  }
  const concurrency = options.concurrency ?? 16;
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw wrong("`concurrency` is a whole number from 1");
  const where = options.where && checked("where", () => whereSchema.parse(options.where));
  if (where && needsParsed(where) && on.includes("message.received")) {
    throw wrong(
      "`where`: `header` and `attachment` are known once a message is parsed: subscribe to message.parsed instead of message.received",
    );
  }
  const emits = definitions(options.emits);
  for (const name of Object.keys(emits)) checked("emits", () => checkEventName(name));
  return {
    name: options.name,
    version: options.version,
    on,
    handles: [...on, ...(options.stillHandles ?? [])],
    where,
    config: options.config,
    concurrency,
    timeout: checked("timeout", () => milliseconds(options.timeout ?? 60_000)),
    retry: checked("retry", () => completed(options.retry)),
    emits,
    accepts: definitions(subscribed.filter((each) => typeof each !== "string")),
    maxCrashes: options.maxCrashes ?? 5,
    handle: options.handle as unknown as WorkerDefinition["handle"],
    ...(options.lastResort ? { lastResort: options.lastResort } : {}),
  };
}

function definitions(given: Emits | undefined): EmitSchemas {
  if (!Array.isArray(given)) return (given ?? {}) as EmitSchemas;
  return Object.fromEntries(
    (given as EventDefinition[]).map(({ name, schema }): [string, EventSchema] => [name, schema]),
  );
}

function completed(retry: WorkerOptions<string, z.ZodType, EmitSchemas>["retry"]): WorkerDefinition["retry"] {
  if (typeof retry === "function" || (retry && "delays" in retry)) return retry;
  if (retry && (Array.isArray(retry) || "first" in retry || "longest" in retry))
    return retrySchema.parse(retry);
  if (typeof (retry as { giveUpAfter?: unknown })?.giveUpAfter === "string") return retrySchema.parse(retry);
  // Who says how long means by that also how often.
  const { attempts, ...rest } = defaultRetry;
  const given = retry as Partial<GrowingRetry> | undefined;
  return { ...rest, ...(given?.giveUpAfter === undefined ? { attempts } : {}), ...given };
}

/** "Not now": comes back later, at no attempt's cost. What `ctx.snooze` throws. */
export class Snooze extends Error {
  override name = "Snooze";
  readonly delay: number;

  /** @param delay milliseconds, or a duration such as "10m" */
  constructor(delay: number | string) {
    super(`snoozed for ${delay}${typeof delay === "number" ? " ms" : ""}`);
    this.delay = milliseconds(typeof delay === "number" ? Math.max(delay, 1) : delay);
  }
}
