import {
  buildDsn,
  derivedMessageId,
  type FailureRecord,
  type Route,
  type Target,
  type TargetConfig,
  targetsFor,
} from "@millrace/mail";
import type { WorkerContext } from "@millrace/pipeline";
import type { Submission } from "@millrace/pipeline/runtime";
import type { Task } from "./delivery-task.ts";

export interface BounceOptions {
  hostname: string;
  routes: readonly Route[];
  relay?: TargetConfig | undefined;
  /** Puts the DSN on its way; once for each id. */
  submit(submission: Submission): Promise<void>;
}

/** Octets of the original's header that go back with a DSN. */
const headerOctets = 65_536;

/**
 * Tells the sender of a message that a delivery has failed for good, where that is wanted and possible.
 *
 * Never for the null reverse-path, and so never for a DSN (RFC 5321 §4.5.5, RFC 3464 §2). Mail that was made by machine
 * (Auto-Submitted, RFC 3834) has one like any other: who gave a reverse-path wants to hear. Trouble of our own, which
 * leaves no reply, is none of the sender's: somebody here has to mend it, and finds it among the dead letters.
 *
 * A process that dies between the DSN and the end of the job leaves a job that runs once more: another attempt is made,
 * but never another DSN.
 *
 * @param at milliseconds since the epoch at which the delivery was asked for: with message and target the DSN's identity
 * @returns false when nobody is told, and the job is to be a dead letter
 */
export async function bounce(
  task: Task,
  target: Target,
  at: number,
  ctx: WorkerContext,
  failure: FailureRecord,
  options: BounceOptions,
): Promise<boolean> {
  const { envelope, manifest } = ctx;
  const sender = envelope.from;
  const wanted = target.onFailure ?? (envelope.user === null ? "dead-letter" : "dsn");
  if (wanted !== "dsn" || sender === "" || failure.reply === undefined) return false;
  if (targetsFor(options.routes, [sender], options.relay).unrouted.length > 0) {
    ctx.log.warn(
      { sender },
      "no route leads to the sender, so no DSN can be sent: add a route for it, or a relay",
    );
    return false;
  }

  const started = Date.now();
  const dsn = derivedMessageId(at, ctx.message, task.target);
  const { octets, smtputf8 } = buildDsn({
    id: dsn,
    hostname: options.hostname,
    to: sender,
    original: ctx.message,
    arrivedAt: manifest.receivedAt,
    lastAttemptAt: started,
    now: started,
    remote: hostOf(target.config),
    recipients: task.said,
    header: await headerOf(ctx),
  });
  await options.submit({
    id: dsn,
    envelope: { from: "", recipients: [sender], smtputf8, body: "7bit" },
    hostname: options.hostname,
    octets,
    worker: "deliver",
  });
  const { target: id, label } = task;
  const recipients = task.said.map(({ recipient }) => recipient);
  const attempted = { attempt: ctx.attempt, ms: Date.now() - started, reply: failure.reply };
  ctx.emit("delivery.bounced", { target: id, label, recipients, ...attempted, dsn }, { key: id });
  ctx.log.warn({ target: label, recipients: recipients.length, dsn, reply: failure.reply }, "bounced");
  return true;
}

/** The original's header, as far as it is read: up to its empty line, whole lines only. */
async function headerOf(ctx: WorkerContext): Promise<Buffer> {
  let start: Buffer = Buffer.alloc(0);
  for await (const piece of ctx.raw()) {
    start = Buffer.concat([start, piece as Buffer]);
    const end = start.indexOf("\r\n\r\n");
    if (end >= 0 && end <= headerOctets) return start.subarray(0, end + 2);
    if (start.length > headerOctets) break;
  }
  return start.subarray(0, start.lastIndexOf("\n", headerOctets) + 1);
}

function hostOf(config: TargetConfig): string | undefined {
  if ("smtp" in config) return new URL(config.smtp).hostname;
  if ("webhook" in config) return new URL(config.webhook).hostname;
  return "lmtp" in config && !config.lmtp.includes("/") ? config.lmtp.replace(/:\d+$/, "") : undefined;
}
