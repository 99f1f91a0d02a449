import { longestDelay, type RetryPolicy, Suspended } from "@millrace/mail";
import type { WorkerContext } from "@millrace/pipeline";
import type { Task } from "./delivery-task.ts";
import { suspensionDelay } from "./suspension-delay.ts";
import type { TargetUnavailable } from "./target-gate.ts";

/** How long a message stays away from a target in trouble, in milliseconds. */
export interface SuspensionTiming {
  /** The first time; twice as long each further time in a row. */
  first: number;
  /** So soon after the target's recovery the last of its backlog has been tried again. */
  longest: number;
}

export const defaultSuspension: SuspensionTiming = { first: 60_000, longest: 600_000 };

const never = { times: 0, overtime: 0, outwaited: false };

/**
 * Puts a delivery off that would only run into the trouble of the ones before it. It has spent no attempt, so the long
 * steps at the end of a schedule are not for it; half of each delay is left to chance, so that a backlog does not come
 * back as one.
 *
 * @param at milliseconds since the epoch at which the delivery was asked for: the policy's lifetime begins there
 * @throws Suspended always
 */
export function suspend(
  task: Task,
  policy: RetryPolicy,
  unavailable: TargetUnavailable,
  at: number,
  ctx: WorkerContext,
  timing: SuspensionTiming = defaultSuspension,
): never {
  const { target, label, recipients } = task;
  const before = task.suspended?.askedAt === at ? task.suspended : never;
  const { trouble, coolsFor, turnIn } = unavailable;
  const full = Math.min(
    timing.first * 2 ** before.times,
    timing.longest,
    Math.max(longestDelay(policy), timing.first),
  );
  const wanted = Math.max(full * (0.5 + 0.5 * Math.random()), turnIn);
  const age = Date.now() - at;
  const next = suspensionDelay(policy, { age, wanted, coolsFor }, before);
  const retryAfter = next && Math.round(next.delay);
  const { code, status } = trouble;
  const reply = `delivery temporarily suspended: ${trouble.reply}`;
  ctx.emit(
    "delivery.deferred",
    {
      ...{ target, label, recipients, attempt: ctx.attempt - 1, ms: 0, reply },
      ...(code ? { code } : {}),
      ...(retryAfter === undefined ? {} : { nextAttemptAt: Date.now() + retryAfter }),
    },
    { key: `${target}/${ctx.attempt}/suspended/${before.times}` },
  );
  // What the target said of this very message, if it ever did, says more than its trouble.
  const words = recipients.map((recipient) => ({ recipient, reply, code, status, permanent: false }));
  const said = task.said.length > 0 ? task.said : words;
  const { overtime, outwaited } = next ?? before;
  ctx.progress({ ...task, said, suspended: { askedAt: at, times: before.times + 1, overtime, outwaited } });
  throw new Suspended(`${label}: ${reply}`, { code, status, reply, retryAfter });
}
