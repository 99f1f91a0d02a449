import { PermanentFailure, TemporaryFailure } from "@millrace/mail";
import type { WorkerContext } from "@millrace/pipeline";
import { lastWords, type Task } from "./delivery-task.ts";
import type { RecipientOutcome } from "./transport.ts";

const eventOf = {
  delivered: "delivery.succeeded",
  deferred: "delivery.deferred",
  failed: "delivery.failed",
} as const;

/** Publishes what became of each recipient, and says by returning or throwing what becomes of the job. */
export function recordOutcomes(
  task: Task,
  outcomes: readonly RecipientOutcome[],
  ms: number,
  ctx: WorkerContext,
): void {
  const { target, label } = task;
  const { attempt } = ctx;
  const groups = Map.groupBy(outcomes, ({ result, reply }) => `${result} ${reply}`);
  for (const [index, group] of [...groups.values()].entries()) {
    const [{ result, reply, code }] = group as [RecipientOutcome];
    const recipients = group.map(({ recipient }) => recipient);
    const coded = code && result !== "delivered" ? { code } : {};
    ctx.emit(
      eventOf[result],
      { target, label, recipients, attempt, ms, reply, ...coded },
      { key: `${target}/${attempt}/${index}` },
    );
  }

  const deferred = outcomes.filter(({ result }) => result === "deferred");
  const failed = [...task.failed, ...outcomes.filter(({ result }) => result === "failed").map(lastWords)];
  const after = { ...task, suspended: undefined, said: [...failed, ...deferred.map(lastWords)] };
  if (deferred.length > 0) {
    const [first] = deferred as [RecipientOutcome];
    ctx.progress({ ...after, recipients: deferred.map(({ recipient }) => recipient), failed });
    throw new TemporaryFailure(`${label}: ${first.reply}`, {
      code: first.code,
      status: first.status,
      reply: first.reply,
      retryAfter: Math.max(0, ...deferred.map(({ retryAfter }) => retryAfter ?? 0)) || undefined,
    });
  }
  if (failed.length > 0) {
    const last = outcomes.find(({ result }) => result === "failed") ?? failed[0];
    // Whoever replays this dead letter begins anew with those recipients.
    ctx.progress({ ...after, recipients: failed.map(({ recipient }) => recipient), failed: [] });
    throw new PermanentFailure(`${label}: ${last?.reply}`, {
      code: last?.code,
      status: last?.status,
      reply: last?.reply,
    });
  }
}
