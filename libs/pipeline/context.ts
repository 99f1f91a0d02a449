import { Readable } from "node:stream";
import type { Manifest, ParsedMessage } from "@millrace/mail";
import type { Logger } from "@millrace/service";
import { type EventName, events } from "./events.ts";
import { bodyOf, type Pipeline } from "./open-pipeline.ts";
import type { Abortion } from "./run-handler.ts";
import { jobIdOf, type Unit, type UnitRef } from "./unit.ts";
import { attachmentMatches } from "./where.ts";
import { Snooze, type WorkerDefinition } from "./worker.ts";
import type { WorkerContext } from "./worker-context.ts";

/** An event a handler has published; sent when its run is recorded. */
export interface Emission {
  event: string;
  key: string | undefined;
  data: Record<string, unknown>;
}

/** One run of a handler: its context, and what it has asked for. */
export interface Run {
  ctx: WorkerContext;
  emissions: Emission[];
  /** What `progress` has kept: to be recorded even if the run fails. */
  kept: { emissions: Emission[]; data: Record<string, unknown> } | undefined;
}

/** Where a message's octets and its parsed form come from. */
export interface Body {
  open(): Readable;
  read(): Promise<Buffer>;
  parsed(): Promise<ParsedMessage>;
}

export interface Job {
  ref: UnitRef;
  unit: Unit;
  manifest: Manifest;
  crashes: number;
  abortion: Pick<Abortion, "signal">;
  /** What the worker's schema made of its configuration. */
  config: unknown;
  body: Body;
  log: Logger;
  once: WorkerContext["once"];
}

/** The context of a run on a pipeline. */
export function startRun(worker: WorkerDefinition, pipeline: Pipeline, job: Omit<Job, "body" | "log">): Run {
  return makeRun(worker, { ...job, body: bodyOf(pipeline, job.ref.message), log: pipeline.log });
}

export function makeRun(worker: WorkerDefinition, job: Job): Run {
  const { ref, unit, manifest, body } = job;
  const attempt = unit.attempts + 1;
  // Made when it is asked for: most runs have nothing to say.
  let log: Logger | undefined;
  let parsed: Promise<ParsedMessage> | undefined;
  const octetsOf = (index: number) => Readable.from(attachmentOctets(body, index), { objectMode: false });
  const run: Run = {
    emissions: [],
    kept: undefined,
    ctx: {
      message: ref.message,
      manifest,
      envelope: manifest.envelope,
      config: job.config,
      parsed() {
        parsed ??= body.parsed().catch((error) => {
          parsed = undefined;
          throw error;
        });
        return parsed;
      },
      raw: () => body.open(),
      read: () => body.read(),
      async attachments(...wanted) {
        const { attachments } = await run.ctx.parsed();
        return attachments
          .filter((each) => wanted.length === 0 || attachmentMatches(wanted, each))
          .map((each) => ({ ...each, stream: () => octetsOf(each.index) }));
      },
      attachment: (index) => ({ stream: () => octetsOf(index) }),
      emit(event, data, options) {
        run.emissions.push(
          emission(worker, run.emissions, event, data as Record<string, unknown>, options?.key),
        );
      },
      once: job.once,
      snooze(delay) {
        throw new Snooze(delay);
      },
      progress(data) {
        run.kept = { emissions: [...run.emissions], data };
      },
      get log() {
        log ??= job.log.child({ message: ref.message, worker: worker.name, attempt });
        return log;
      },
      get signal() {
        return job.abortion.signal;
      },
      attempt,
      crashes: job.crashes,
      idempotencyKey: jobIdOf(ref),
    },
  };
  return run;
}

async function* attachmentOctets(body: Body, index: number): AsyncGenerator<Buffer> {
  // Only who asks for attachments pays for the parser: the edge shares this library and never does.
  const { attachmentOf } = await import("@millrace/mime");
  yield* await attachmentOf(body.open(), index);
}

function emission(
  worker: WorkerDefinition,
  earlier: readonly Emission[],
  event: string,
  data: Record<string, unknown>,
  key: string | undefined,
): Emission {
  const schema = worker.emits[event] ?? (event in events ? events[event as EventName] : undefined);
  if (!schema) {
    throw new TypeError(
      `worker ${worker.name} emits ${event}, which is neither built in nor declared in \`emits\``,
    );
  }
  if (earlier.some((each) => each.event === event && each.key === key)) {
    throw new TypeError(
      `worker ${worker.name} emits ${event} more than once: give each a \`key\` of its own`,
    );
  }
  return { event, key, data: schema.parse(data) as Record<string, unknown> };
}
