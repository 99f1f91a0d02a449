import type { Manifest } from "@millrace/mail";
import type { Logger } from "@millrace/service";
import { type EventName, events } from "./events.ts";
import { bodyOf, type Pipeline } from "./open-pipeline.ts";
import { jobIdOf, type Unit, type UnitRef, unitName } from "./unit.ts";
import type { WorkerContext, WorkerDefinition } from "./worker.ts";

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

interface Job {
  ref: UnitRef;
  unit: Unit;
  manifest: Manifest;
  crashes: number;
  signal: AbortSignal;
}

export function startRun(worker: WorkerDefinition, pipeline: Pipeline, job: Job): Run {
  const { ref, unit, manifest } = job;
  const body = bodyOf(pipeline, ref.message);
  const attempt = unit.attempts + 1;
  // Made when it is asked for: most runs have nothing to say.
  let log: Logger | undefined;
  const run: Run = {
    emissions: [],
    kept: undefined,
    ctx: {
      message: ref.message,
      manifest,
      envelope: manifest.envelope,
      parsed: () => body.parsed(),
      raw: async () => body.open(),
      read: () => body.read(),
      attachment: async (index) => {
        // Only who asks for attachments pays for the parser: the edge shares this library and never does.
        const { attachmentOf } = await import("@millrace/mime");
        return attachmentOf(body.open(), index);
      },
      emit(event, data, options) {
        run.emissions.push(emission(worker, run.emissions, event, data, options?.key));
      },
      progress(data) {
        run.kept = { emissions: [...run.emissions], data };
      },
      get log() {
        log ??= pipeline.log.child({ message: ref.message, worker: worker.name, attempt });
        return log;
      },
      signal: job.signal,
      attempt,
      crashes: job.crashes,
      idempotencyKey: jobIdOf(ref),
    },
  };
  return run;
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

/** The units that events open: one for each subscriber of each. */
export function unitsFor(
  pipeline: Pick<Pipeline, "subscriptions">,
  emissions: readonly Emission[],
  at: number,
): Map<string, Unit> {
  const units = new Map<string, Unit>();
  for (const { event, key, data } of emissions) {
    for (const subscriber of pipeline.subscriptions.to(event)) {
      units.set(unitName(subscriber, event, key), { v: 1, event, at, data, attempts: 0 });
    }
  }
  return units;
}
