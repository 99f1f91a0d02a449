import type { Arrival } from "./arrival.ts";
import type { Evidence, Stored } from "./evidence.ts";
import type { Sent } from "./load.ts";
import { recipientsFor, type TargetName } from "./message.ts";

export interface Verdict {
  /** What is wrong, a line for each message; empty when the promise was kept. */
  problems: string[];
  /** Deliveries that a relay or a webhook got again with the same id: no problem where an answer can have got lost. */
  repeated: string[];
}

/**
 * Holds the evidence against the promise: what was acknowledged is stored, octet for octet, once; what is stored was
 * delivered to each target, once, or again with the same id.
 *
 * @param inFlight messages that have work left: late, which is bad enough, but not lost
 */
export function judge(evidence: Evidence, inFlight: ReadonlySet<string> = new Set()): Verdict {
  const problems = [...senderProblems(evidence), ...storeProblems(evidence, inFlight)];
  const repeated: string[] = [];
  for (const target of ["maildir", "smtp", "webhook"] as const) {
    const verdict = targetVerdict(target, evidence);
    problems.push(...verdict.problems);
    repeated.push(...verdict.repeated);
  }
  return { problems, repeated };
}

function senderProblems({ sent }: Evidence): string[] {
  return sent.flatMap(({ mail, fate }) => {
    if (fate.state === "unanswered") return [`${mail.name}: no answer came, the edge hangs`];
    // A sender gives a message back over such a reply: for a good one that is as bad as a loss.
    if (fate.state === "refused" && !fate.reply.startsWith("4"))
      return [`${mail.name}: a good message was refused with ${JSON.stringify(fate.reply)}`];
    return [];
  });
}

function storeProblems({ sent, stored }: Evidence, inFlight: ReadonlySet<string>): string[] {
  const problems: string[] = [];
  const byId = new Map(stored.map((message) => [message.id, message]));
  const byHash = Map.groupBy(stored, ({ sha256 }) => sha256);
  const sentByHash = new Map<Stored["sha256"], Sent>(sent.map((each) => [each.mail.sha256, each]));
  for (const { mail, fate } of sent) {
    const copies = byHash.get(mail.sha256) ?? [];
    if (copies.length > 1) problems.push(`${mail.name}: stored ${copies.length} times: ${idsOf(copies)}`);
    if (fate.state === "incomplete" && copies.length > 0)
      problems.push(
        `${mail.name}: stored as ${idsOf(copies)}, though its sender never came to the end of it`,
      );
    if (fate.state !== "acknowledged") continue;
    const message = byId.get(fate.id);
    if (!message && inFlight.has(fate.id))
      problems.push(`${mail.name}: acknowledged as ${fate.id}, and still in flight`);
    else if (!message) problems.push(`${mail.name}: LOST: acknowledged as ${fate.id}, and not stored`);
    else if (typeof message.sha256 !== "string")
      problems.push(`${mail.name}: LOST: acknowledged as ${fate.id}: ${message.sha256.unreadable}`);
    else if (message.sha256 !== mail.sha256)
      problems.push(`${mail.name}: DAMAGED: stored as ${fate.id} with other octets than were sent`);
  }
  for (const { id, sha256, state } of stored) {
    if (typeof sha256 !== "string")
      problems.push(`${id}: in the index, but its octets are not: ${sha256.unreadable}`);
    else if (!sentByHash.has(sha256)) problems.push(`${id}: stored, but nobody sent it like that`);
    if (state !== "delivered") problems.push(`${id}: stored, and its state is ${state} after all was done`);
  }
  return problems;
}

function targetVerdict(target: TargetName, evidence: Evidence): Verdict {
  const problems: string[] = [];
  const repeated: string[] = [];
  const arrivals = Map.groupBy(evidence.arrivals[target], ({ id }) => id);
  const known = new Set(evidence.stored.map(({ id }) => id));
  for (const [id, there] of arrivals)
    if (!known.has(id))
      problems.push(`${id || "a message without our id"}: ${there.length} × at ${target}, and not stored`);
  for (const { id, to, sha256 } of evidence.stored) {
    const wanted = recipientsFor(target, to);
    const there = arrivals.get(id) ?? [];
    // A Maildir has a file for each recipient; the others get one delivery for all of them.
    const groups =
      target === "maildir" ? wanted.map((recipient) => [recipient]) : wanted.length > 0 ? [wanted] : [];
    for (const group of groups) {
      const copies = there.filter(({ recipients }) => sameSet(recipients, group));
      const where = `${target} for ${group.join(", ")}`;
      if (copies.length === 0) problems.push(`${id}: not delivered to ${where}`);
      if (copies.length < 2) continue;
      const what = `${id}: delivered ${copies.length} times to ${where}`;
      if (target === "maildir") problems.push(what);
      else if (new Set(copies.map(({ deliveryId }) => deliveryId)).size > 1)
        problems.push(`${what}, with more than one delivery id`);
      else repeated.push(what);
    }
    const astray = there.filter(({ recipients }) => !groups.some((group) => sameSet(recipients, group)));
    if (astray.length > 0)
      problems.push(`${id}: ${target} got it for ${recipientsOf(astray)}, not ${wanted.join(", ")}`);
    if (there.some((arrival) => arrival.sha256 !== sha256))
      problems.push(`${id}: DAMAGED: ${target} got other octets than are stored`);
  }
  return { problems, repeated };
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each) => b.includes(each));
}

function recipientsOf(arrivals: readonly Arrival[]): string {
  return arrivals.map(({ recipients }) => recipients.join(", ")).join("; ");
}

function idsOf(messages: readonly Stored[]): string {
  return messages.map(({ id }) => id).join(", ");
}
