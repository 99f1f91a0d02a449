import { PermanentFailure, type Route, type Target, TemporaryFailure, targetsFor } from "@millrace/mail";
import { defineWorker, type WorkerContext, type WorkerDefinition } from "@millrace/pipeline";
import { z } from "zod";
import { TargetGate } from "./target-gate.ts";
import type { RecipientOutcome, Transport } from "./transport.ts";

/** What a job of one target carries: whom it is still for, and whom it has already failed for good. */
const taskSchema = z.object({
  target: z.string(),
  label: z.string(),
  recipients: z.array(z.string()).min(1),
  failed: z.array(z.object({ recipient: z.string(), reply: z.string() })).default([]),
});
type Task = z.infer<typeof taskSchema>;

/** Stands for recipients that no route takes any more, so that they end like any other target. */
const unroutedTarget = { target: "none", label: "no route" };

interface Options {
  routes: readonly Route[];
  concurrency: number;
  targetConcurrency: number;
  openTransport(target: Target): Transport;
}

/**
 * The worker that delivers. A message for one target is delivered at once; one for several becomes a job for
 * each, so that none waits for another.
 */
export function deliverWorker(options: Options): { worker: WorkerDefinition; close(): Promise<void> } {
  const transports = new Map<string, Transport>();
  const gates = new Map<string, TargetGate>();

  const transportOf = (target: Target): Transport => {
    let transport = transports.get(target.id);
    if (!transport) {
      transport = options.openTransport(target);
      transports.set(target.id, transport);
    }
    return transport;
  };
  const gateOf = (id: string): TargetGate => {
    let gate = gates.get(id);
    if (!gate) {
      gate = new TargetGate(options.targetConcurrency);
      gates.set(id, gate);
    }
    return gate;
  };

  const attempt = async (task: Task, target: Target, ctx: WorkerContext): Promise<RecipientOutcome[]> => {
    const gate = gateOf(target.id);
    await gate.enter();
    let outcomes: RecipientOutcome[] = [];
    try {
      outcomes = await transportOf(target).deliver({
        message: ctx.message,
        manifest: ctx.manifest,
        target,
        recipients: task.recipients,
        attempt: ctx.attempt,
        deliveryId: `${ctx.message}.${target.id}`,
        size: ctx.manifest.receivedFieldSize + ctx.manifest.size,
        raw: () => ctx.raw(),
        read: () => ctx.read(),
        parsed: () => ctx.parsed(),
        signal: ctx.signal,
      });
      return outcomes;
    } finally {
      gate.leave(outcomes.some(({ result }) => result === "delivered"));
    }
  };

  const deliver = async (task: Task, ctx: WorkerContext): Promise<void> => {
    const { targets } = targetsFor(options.routes, ctx.envelope.recipients);
    const target = targets.find(({ id }) => id === task.target);
    if (!target) {
      ctx.progress({ ...task });
      throw new PermanentFailure(`no route leads ${task.recipients.join(", ")} to ${task.label}`, {
        code: "NO_ROUTE",
        status: "5.1.1",
      });
    }
    const started = Date.now();
    const outcomes = await attempt(task, target, ctx);
    record(task, outcomes, Date.now() - started, ctx);
  };

  const worker = defineWorker({
    name: "deliver",
    on: ["message.stored", "delivery.requested"],
    concurrency: options.concurrency,
    timeout: 15 * 60_000,
    // About five days (RFC 5321 §4.5.4.1).
    retry: { attempts: 130, firstDelay: 2_000, maxDelay: 3_600_000 },
    maxCrashes: 5,
    async handle(event, ctx) {
      if ("target" in event.data) return deliver(taskSchema.parse(event.data), ctx);
      const { targets, unrouted } = targetsFor(options.routes, ctx.envelope.recipients);
      const tasks: Omit<Task, "failed">[] = targets.map(({ id, label, recipients }) => ({
        target: id,
        label,
        recipients,
      }));
      if (unrouted.length > 0) tasks.push({ ...unroutedTarget, recipients: unrouted });
      const [only] = tasks;
      if (only && tasks.length === 1) return deliver({ ...only, failed: [] }, ctx);
      for (const task of tasks) ctx.emit("delivery.requested", task, { key: task.target });
    },
  });

  return {
    worker,
    async close() {
      await Promise.all([...transports.values()].map((transport) => transport.close()));
    },
  };
}

/** Publishes what became of each recipient, and says by returning or throwing what becomes of the job. */
function record(task: Task, outcomes: readonly RecipientOutcome[], ms: number, ctx: WorkerContext): void {
  const groups = Map.groupBy(outcomes, ({ result, reply }) => `${result} ${reply}`);
  for (const [index, group] of [...groups.values()].entries()) {
    const [{ result, reply, code }] = group as [RecipientOutcome];
    const event = {
      delivered: "delivery.succeeded",
      deferred: "delivery.deferred",
      failed: "delivery.failed",
    }[result];
    const recipients = group.map(({ recipient }) => recipient);
    const { target, label } = task;
    ctx.emit(
      event,
      {
        target,
        label,
        recipients,
        attempt: ctx.attempt,
        ms,
        reply,
        ...(code && result !== "delivered" ? { code } : {}),
      },
      { key: `${target}/${ctx.attempt}/${index}` },
    );
  }

  const deferred = outcomes.filter(({ result }) => result === "deferred");
  const failed = [
    ...task.failed,
    ...outcomes
      .filter(({ result }) => result === "failed")
      .map(({ recipient, reply }) => ({ recipient, reply })),
  ];
  if (deferred.length > 0) {
    const [first] = deferred as [RecipientOutcome];
    ctx.progress({ ...task, recipients: deferred.map(({ recipient }) => recipient), failed });
    throw new TemporaryFailure(`${task.label}: ${first.reply}`, {
      code: first.code,
      status: first.status,
      reply: first.reply,
      retryAfter: Math.max(0, ...deferred.map(({ retryAfter }) => retryAfter ?? 0)) || undefined,
    });
  }
  if (failed.length > 0) {
    const last = outcomes.find(({ result }) => result === "failed");
    const reply = last?.reply ?? failed[0]?.reply ?? "";
    ctx.progress({ ...task, recipients: failed.map(({ recipient }) => recipient), failed: [] });
    throw new PermanentFailure(`${task.label}: ${reply}`, { code: last?.code, status: last?.status, reply });
  }
}
