import { Readable } from "node:stream";
import {
  type FailureRecord,
  type Manifest,
  type MessageId,
  type ParsedMessage,
  TemporaryFailure,
} from "@millrace/mail";
import { createLogger } from "@millrace/service";
import { z } from "zod";
import { makeRun } from "../context.ts";
import type { Effect, EffectLog } from "../effects.ts";
import { Effects } from "../once.ts";
import { Abortion, delayAfter, eventOf, failureOf, runHandler } from "../run-handler.ts";
import { type Unit, type UnitRef, unitName } from "../unit.ts";
import { isWanted, needsParsed } from "../where.ts";
import { Snooze, type WorkerDefinition } from "../worker.ts";
import { manifestOf, type TestMail } from "./mail.ts";

/** One line a worker has logged. */
export interface LogLine {
  level: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
  msg: string;
  [key: string]: unknown;
}

export interface RunOptions<Config> {
  /** As in the configuration file, before the schema has seen it. */
  config?: Config;
  /** The event it is called with; the first of `on`, with nothing in it, when there is none. */
  event?: { name: string; data?: Record<string, unknown> };
  /** Ends the run from outside, as a stopping process does. */
  signal?: AbortSignal;
}

export interface RunResult {
  /** "unwanted": the message does not fit `where`, and the handler was not called. */
  outcome: "done" | "failed" | "snoozed" | "unwanted";
  /** What it emitted, in order; nothing unless the outcome is "done": only then events are recorded. */
  events: { name: string; data: Record<string, unknown>; key?: string }[];
  logs: LogLine[];
  /** Why it failed, as a dead letter would tell it; `at` is the line. */
  failure?: FailureRecord;
  /** What was thrown. */
  error?: unknown;
  /** Milliseconds until it would be tried again, for "failed" and "snoozed"; undefined: never, it is a dead letter. */
  retryIn?: number;
  attempt: number;
  message: MessageId;
  /** Effects that have happened (`ctx.once`), by key, with what they returned: in this run and those before it. */
  once: ReadonlyMap<string, unknown>;
  /** Runs the next attempt: effects that have happened are not run again. */
  again(): Promise<RunResult>;
}

/**
 * Runs a worker on a mail, with no Redis and no mail store: the mail is parsed as the pipeline parses it, and the handler
 * gets a context like any other.
 *
 * @throws TypeError when the worker subscribes to an event that needs data and none is given, or its configuration is wrong
 */
export async function runWorker<Config extends z.ZodType>(
  worker: WorkerDefinition<Config>,
  mail: TestMail,
  options: RunOptions<z.input<Config>> = {},
): Promise<RunResult> {
  const { parseHeaderOnly, parseMessage } = await import("@millrace/mime");
  const parsed = await parseMessage(mail.raw).catch((error: Error) =>
    parseHeaderOnly(mail.raw, error.message),
  );
  const name = options.event?.name ?? (worker.on[0] as string);
  const unit: Unit = {
    ...{ v: 1, event: name, at: Date.now(), attempts: 0 },
    data: options.event?.data ?? usualData(name, parsed),
  };
  const log = new MemoryEffects();
  return attempt(worker, unit, {
    ...{ mail, parsed, manifest: manifestOf(mail), log, signal: options.signal },
    effects: new Effects(log, worker.name),
    config: configOf(worker, options.config),
  });
}

interface Bench {
  mail: TestMail;
  parsed: ParsedMessage;
  manifest: Manifest;
  config: unknown;
  log: MemoryEffects;
  effects: Effects;
  signal: AbortSignal | undefined;
}

async function attempt(worker: WorkerDefinition, unit: Unit, bench: Bench): Promise<RunResult> {
  const { mail, parsed, manifest, log } = bench;
  const logs: LogLine[] = [];
  const ref = { message: manifest.id, unit: unitName(worker.name, unit.event) };
  const abortion = new Abortion();
  const stop = () => abortion.abort(new TemporaryFailure("the process is stopping", { code: "STOPPED" }));
  bench.signal?.addEventListener("abort", stop);
  const run = makeRun(worker, {
    ...{ ref, unit, manifest, crashes: 0, config: bench.config, abortion },
    body: {
      open: () => Readable.from([mail.raw], { objectMode: false }),
      read: async () => mail.raw,
      parsed: async () => parsed,
    },
    log: createLogger(worker.name, "trace", { write: (line: string) => void logs.push(lineOf(line)) }),
    once: bench.effects.once(ref, (step) => step()),
  });
  const result = {
    ...{ events: [] as RunResult["events"], logs, attempt: run.ctx.attempt, message: manifest.id },
    once: log.results,
  };
  const again = (attempts: number, data = unit.data) => {
    return { again: () => attempt(worker, { ...unit, attempts, data }, bench) };
  };
  try {
    const wanted =
      worker.where && isWanted(worker.where, manifest, needsParsed(worker.where) ? parsed : undefined);
    if (wanted === false) return { ...result, outcome: "unwanted", ...again(unit.attempts) };
    if (bench.signal?.aborted) stop();
    await runHandler(worker, eventOf(worker, ref, unit), run.ctx, abortion);
    for (const { event, data, key } of run.emissions) {
      result.events.push({ name: event, data, ...(key === undefined ? {} : { key }) });
    }
    return { ...result, outcome: "done", ...again(unit.attempts) };
  } catch (error) {
    if (error instanceof Snooze) {
      return { ...result, outcome: "snoozed", retryIn: error.delay, ...again(unit.attempts) };
    }
    const failure = failureOf(error);
    const attempts = unit.attempts + 1;
    const data = run.kept?.data ?? unit.data;
    const retryIn = failure.permanent ? undefined : delayAfter(worker, { ...unit, attempts, data }, error);
    return {
      ...{ ...result, outcome: "failed", failure, error, ...again(attempts, data) },
      ...(retryIn === undefined ? {} : { retryIn }),
    };
  } finally {
    bench.signal?.removeEventListener("abort", stop);
  }
}

function configOf(worker: WorkerDefinition, given: unknown): unknown {
  if (!worker.config) return undefined;
  const config = worker.config.safeParse(given ?? {});
  if (config.success) return config.data;
  throw new TypeError(`configuration of worker ${worker.name}: ${z.prettifyError(config.error)}`);
}

/** What the pipeline's own events carry for such a message. */
function usualData(event: string, { defects }: ParsedMessage): Record<string, unknown> {
  if (event !== "message.parsed") return {};
  const codes = defects.map(({ code }) => code);
  return { unparsed: codes.includes("unparsed"), defects: codes };
}

function lineOf(json: string): LogLine {
  const { level, time: _, pid: __, name: ___, ...rest } = JSON.parse(json) as Record<string, unknown>;
  const names = { 10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal" } as const;
  return { msg: "", ...rest, level: names[level as keyof typeof names] };
}

/** The effects of one message and worker, in memory. */
class MemoryEffects implements EffectLog {
  readonly results = new Map<string, unknown>();

  async begin(_ref: UnitRef, _worker: string, key: string): Promise<Effect | "yours"> {
    return this.results.has(key) ? { state: "done", result: this.results.get(key) } : "yours";
  }
  async done(_message: MessageId, _worker: string, key: string, result: unknown): Promise<void> {
    this.results.set(key, result);
  }
  async forget(): Promise<void> {}
  async ofWorker(): Promise<undefined> {}
}
