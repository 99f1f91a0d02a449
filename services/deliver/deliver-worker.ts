import {
  type Delivery,
  type Envelope,
  type HeaderEdits,
  localProtocol,
  type MessageId,
  PermanentFailure,
  type RetryPolicy,
  type Target,
  targetsOf,
} from "@millrace/mail";
import { defineWorker, type WorkerContext, type WorkerDefinition } from "@millrace/pipeline";
import type { Logger } from "@millrace/service";
import { type BounceOptions, bounce } from "./bounce.ts";
import type { Verdict } from "./circuit-breaker.ts";
import { type Task, taskSchema } from "./delivery-task.ts";
import { editedMessage } from "./edited-message.ts";
import { recordOutcomes } from "./record-outcomes.ts";
import { schedules } from "./schedules.ts";
import { defaultSuspension, type SuspensionTiming, suspend } from "./suspend.ts";
import { defaultGateTiming, type GateTiming, TargetGate, TargetUnavailable } from "./target-gate.ts";
import type { RecipientOutcome, Transport } from "./transport.ts";

/** Stands for recipients that no route takes any more, so that they end like any other target. */
const unroutedTarget = { target: "none", label: "no route" };

interface Options extends BounceOptions {
  concurrency: number;
  targetConcurrency: number;
  openTransport(target: Target): Transport;
  /** When mail may be delivered; once it is stored, unless given. */
  delivery?: Delivery;
  /** Who has a message already, as far as is known, by target. */
  deliveries?(id: MessageId): readonly { target: string; delivered: readonly string[] }[];
  log: Logger;
  timing?: Partial<GateTiming & { suspension: SuspensionTiming }>;
}

/**
 * The worker that delivers. A message for one target is delivered at once; one for several becomes a job for
 * each, so that none waits for another.
 */
export function deliverWorker(options: Options): { worker: WorkerDefinition; close(): Promise<void> } {
  const { log } = options;
  const { suspension = defaultSuspension, ...timing } = { ...defaultGateTiming, ...options.timing };
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
  const gateOf = ({ id, label }: Target): TargetGate => {
    let gate = gates.get(id);
    if (!gate) {
      const listener = {
        opened: ({ reply, code }: { reply: string; code?: string | undefined }, ms: number) =>
          log.warn({ target: label, reply, code, ms }, "target in trouble, deliveries suspended"),
        closed: (ms: number) => log.info({ target: label, ms }, "target works again"),
      };
      gate = new TargetGate(options.targetConcurrency, listener, timing);
      gates.set(id, gate);
    }
    return gate;
  };
  const targetOf = (
    { target, recipients }: Task,
    envelope: Pick<Envelope, "user" | "protocol">,
  ): Target | undefined => targetsOf(options, envelope, recipients).targets.find(({ id }) => id === target);

  const attempt = async (task: Task, target: Target, ctx: WorkerContext): Promise<RecipientOutcome[]> => {
    const leave = await gateOf(target).enter();
    let verdict: Verdict = "unknown";
    try {
      const outcomes = await transportOf(target).deliver({
        message: ctx.message,
        manifest: ctx.manifest,
        target,
        recipients: task.recipients,
        attempt: ctx.attempt,
        deliveryId: `${ctx.message}.${target.id}`,
        header: task.header,
        ...(await editedMessage(ctx, task.header)),
        signal: ctx.signal,
      });
      verdict = verdictOf(outcomes);
      return outcomes;
    } finally {
      leave(verdict);
    }
  };

  const deliver = async (task: Task, at: number, ctx: WorkerContext): Promise<void> => {
    const target = targetOf(task, ctx.envelope);
    // Whatever breaks from here on, it is known whose delivery it was.
    ctx.progress({ ...task });
    if (!target) {
      throw new PermanentFailure(`no route leads ${task.recipients.join(", ")} to ${task.label}`, {
        code: "NO_ROUTE",
        status: "5.1.1",
      });
    }
    const started = Date.now();
    let outcomes: RecipientOutcome[];
    try {
      outcomes = await attempt(task, target, ctx);
    } catch (error) {
      if (!(error instanceof TargetUnavailable)) throw error;
      suspend(task, policyOf(target), error, at, ctx, suspension);
    }
    recordOutcomes(task, outcomes, Date.now() - started, ctx);
  };

  const worker = defineWorker({
    name: "deliver",
    on: [options.delivery?.after ?? "message.stored", "delivery.requested"],
    // What was opened before the configuration changed, and what was released from quarantine.
    stillHandles: ["message.stored", "message.cleared"],
    concurrency: options.concurrency,
    timeout: 15 * 60_000,
    retry(data) {
      const task = taskSchema.safeParse(data);
      // Whether it may be relayed was decided when it got this target.
      return policyOf(
        task.success ? targetOf(task.data, { user: null, protocol: localProtocol }) : undefined,
      );
    },
    maxCrashes: 5,
    async handle(event, ctx) {
      if ("target" in event.data) return deliver(taskSchema.parse(event.data), event.at, ctx);
      const { targets, unrouted } = targetsOf(options, ctx.envelope, ctx.envelope.recipients);
      const header = "header" in event.data ? event.data.header : undefined;
      // A worker that clears mail may be run again over old mail: who has it by now does not get it once more.
      const had = event.name === "message.cleared" ? (options.deliveries?.(ctx.message) ?? []) : [];
      const tasks = [
        ...targets.map(({ id, label, recipients }) => ({ target: id, label, recipients })),
        { ...unroutedTarget, recipients: unrouted },
      ].flatMap((task) => withoutThose(task, had, header));
      const [only] = tasks;
      if (only && tasks.length === 1) return deliver(taskSchema.parse(only), event.at, ctx);
      for (const task of tasks) ctx.emit("delivery.requested", task, { key: task.target });
    },
    async lastResort(event, ctx, failure) {
      const task = taskSchema.safeParse(event.data);
      const target = task.success ? targetOf(task.data, ctx.envelope) : undefined;
      return task.success && target ? bounce(task.data, target, event.at, ctx, failure, options) : false;
    },
  });

  return {
    worker,
    async close() {
      await Promise.all([...transports.values()].map((transport) => transport.close()));
    },
  };
}

/** The task for those of its recipients who have not got the message; none when nobody is left. */
function withoutThose(
  task: Pick<Task, "target" | "label" | "recipients">,
  had: readonly { target: string; delivered: readonly string[] }[],
  header: HeaderEdits | undefined,
): Pick<Task, "target" | "label" | "recipients" | "header">[] {
  const delivered = had.find(({ target }) => target === task.target)?.delivered ?? [];
  const recipients = task.recipients.filter((recipient) => !delivered.includes(recipient));
  return recipients.length > 0 ? [{ ...task, recipients, ...(header ? { header } : {}) }] : [];
}

function policyOf(target: Target | undefined): RetryPolicy {
  return target?.retry ?? schedules[target?.transport ?? "smtp"];
}

/** What an attempt says about the target as a whole: it works if it had a word for anybody. */
function verdictOf(outcomes: readonly RecipientOutcome[]): Verdict {
  const said = outcomes.filter(({ code }) => code !== "ABORTED");
  const trouble = said.every(({ sick }) => sick) ? said[0] : undefined;
  return trouble ?? (said.length > 0 ? "well" : "unknown");
}
