import type { JournalEntry, MessageState } from "@millrace/mail";
import { z } from "zod";
import type { DeliveryStatus } from "./mail-store.ts";

type DeliveryState = DeliveryStatus["state"];

/** One target of one message while journal entries are applied to it. */
export interface TargetRow {
  target: string;
  label: string;
  /** Where each recipient stands: an LMTP server answers for every one of them (RFC 2033). */
  recipients: Map<string, DeliveryState>;
  /** Where the target stands as a whole. */
  state: DeliveryState;
  attempts: number;
  /** Milliseconds since the epoch. */
  lastAt: number | null;
  lastReply: string | null;
}

/** Stands for all targets of a message whose delivery died, or was held back, before they were known. */
export const unknownTarget = "";

const deliveryData = z.object({
  target: z.string().min(1),
  label: z.string().catch(""),
  recipients: z.array(z.string()).catch([]),
  attempt: z.number().optional().catch(undefined),
  reply: z.string().optional().catch(undefined),
});

const failureData = z.object({
  class: z.string().catch("Error"),
  message: z.string().catch("no reason was recorded"),
  permanent: z.boolean().catch(false),
  code: z.string().optional().catch(undefined),
  status: z.string().optional().catch(undefined),
  reply: z.string().optional().catch(undefined),
});

/** `job.dead`, `job.replayed` and `job.discarded`. Lenient: a dead letter must be seen even when its record is poor. */
const jobData = z.object({
  job: z.string().catch(""),
  worker: z.string().optional().catch(undefined),
  target: z.string().optional().catch(undefined),
  label: z.string().optional().catch(undefined),
  recipients: z.array(z.string()).optional().catch(undefined),
  attempts: z.number().optional().catch(undefined),
  failure: failureData.catch(() => failureData.parse({})),
});
export type JobRecord = z.infer<typeof jobData> & { worker: string };

const jobEvents = new Set(["job.dead", "job.replayed", "job.discarded"]);

/** What a `job.dead`, `job.replayed` or `job.discarded` entry says; undefined for every other entry. */
export function jobRecord(entry: JournalEntry): JobRecord | undefined {
  if (!jobEvents.has(entry.event)) return undefined;
  const data = jobData.parse(entry.data);
  return { ...data, worker: data.worker ?? entry.worker };
}

const outcomes: ReadonlyMap<string, DeliveryState> = new Map([
  ["delivery.requested", "pending"],
  ["delivery.succeeded", "delivered"],
  ["delivery.deferred", "deferred"],
  ["delivery.failed", "failed"],
  ["delivery.bounced", "bounced"],
]);

/** What becomes of a message that is held back. */
const decisions: ReadonlyMap<string, DeliveryState> = new Map([
  ["message.quarantined", "quarantined"],
  ["message.cleared", "pending"],
  ["quarantine.released", "pending"],
  ["quarantine.discarded", "discarded"],
]);

const decisionData = z.object({
  by: z.string().catch(""),
  reason: z.string().optional().catch(undefined),
});

/** Whether an entry can move a delivery. */
export function concernsDelivery(entry: JournalEntry): boolean {
  return outcomes.has(entry.event) || decisions.has(entry.event) || jobRecord(entry)?.worker === "deliver";
}

/** The worst of several states, as a person would call the whole: what is still tried comes first. */
function together(states: Iterable<DeliveryState>): DeliveryState | undefined {
  const all = new Set(states);
  const order = [
    ...(["deferred", "pending", "failed", "bounced", "delivered"] as const),
    ...(["quarantined", "discarded"] as const),
  ];
  return order.find((state) => all.has(state));
}

/** State of a message in the store, from where its targets stand. */
export function messageState(targets: Iterable<DeliveryState>): MessageState {
  const state = together(targets);
  return state === undefined || state === "pending" ? "stored" : state;
}

/**
 * Applies one entry to a message's targets, in place.
 * @returns the targets it wrote, and those it removed
 */
export function applyEntry(rows: Map<string, TargetRow>, entry: JournalEntry): Set<string> {
  const outcome = outcomes.get(entry.event);
  if (outcome) return applyOutcome(rows, entry, outcome);
  const decision = decisions.get(entry.event);
  if (decision) return applyDecision(rows, entry, decision);
  const job = jobRecord(entry);
  if (job?.worker !== "deliver") return new Set();
  if (entry.event === "job.dead") return applyDeath(rows, entry, job);
  // A discarded delivery has failed all the same.
  return entry.event === "job.replayed" ? applyReplay(rows, job) : new Set();
}

function applyOutcome(
  rows: Map<string, TargetRow>,
  entry: JournalEntry,
  outcome: DeliveryState,
): Set<string> {
  const read = deliveryData.safeParse(entry.data);
  // A record that names no target is kept in the journal and moves nothing.
  if (!read.success) return new Set();
  const { target, label, recipients, attempt, reply } = read.data;
  const row = rows.get(target) ?? newRow(rows, target);
  if (label !== "") row.label = label;
  settle(row, recipients.length > 0 ? recipients : [...row.recipients.keys()], outcome);
  if (outcome !== "pending") {
    row.attempts = attempt ?? row.attempts + 1;
    row.lastAt = entry.at;
    row.lastReply = reply ?? row.lastReply;
  }
  const touched = new Set([target]);
  // Its targets are known now.
  if (rows.delete(unknownTarget)) touched.add(unknownTarget);
  return touched;
}

/** A message is held back, or no longer, as a whole. Where deliveries have begun, it is they that say how it stands. */
function applyDecision(
  rows: Map<string, TargetRow>,
  entry: JournalEntry,
  decision: DeliveryState,
): Set<string> {
  if ([...rows.keys()].some((target) => target !== unknownTarget)) return new Set();
  if (decision === "pending" && !rows.has(unknownTarget)) return new Set();
  const { by, reason } = decisionData.parse(entry.data);
  const row = rows.get(unknownTarget) ?? newRow(rows, unknownTarget);
  row.state = decision;
  row.lastAt = entry.at;
  if (decision === "quarantined") row.label = by;
  row.lastReply = reason ?? row.lastReply;
  return new Set([unknownTarget]);
}

function applyDeath(rows: Map<string, TargetRow>, entry: JournalEntry, job: JobRecord): Set<string> {
  const touched = new Set<string>();
  const target = job.target ?? (rows.size === 0 ? unknownTarget : undefined);
  if (target !== undefined && !rows.has(target)) newRow(rows, target);
  for (const row of target === undefined ? rows.values() : [rows.get(target) as TargetRow]) {
    // A recipient who has the message does not lose it because a job died.
    const open = (job.recipients ?? [...row.recipients.keys()]).filter(
      (recipient) => row.recipients.get(recipient) !== "delivered",
    );
    if (open.length === 0 && (row.recipients.size > 0 || row.state === "delivered")) continue;
    const wasFailed = row.state === "failed";
    settle(row, open, "failed");
    row.label = job.label ?? row.label;
    row.lastAt ??= entry.at;
    // The far side's last words say more than our giving up.
    if (!wasFailed || row.lastReply === null) {
      row.lastReply = job.failure.reply ?? row.lastReply ?? job.failure.message;
    }
    touched.add(row.target);
  }
  return touched;
}

/** A replayed delivery is under way again; one that had succeeded stays so until there is news. */
function applyReplay(rows: Map<string, TargetRow>, job: JobRecord): Set<string> {
  const touched = new Set<string>();
  for (const row of rows.values()) {
    if (row.state !== "failed" || (job.target !== undefined && job.target !== row.target)) continue;
    const failed = [...row.recipients].filter(([, state]) => state === "failed").map(([who]) => who);
    settle(row, failed, "pending");
    touched.add(row.target);
  }
  return touched;
}

function newRow(rows: Map<string, TargetRow>, target: string): TargetRow {
  const row: TargetRow = {
    target,
    label: target,
    recipients: new Map(),
    state: "pending",
    attempts: 0,
    lastAt: null,
    lastReply: null,
  };
  rows.set(target, row);
  return row;
}

function settle(row: TargetRow, recipients: readonly string[], state: DeliveryState): void {
  for (const recipient of recipients) row.recipients.set(recipient, state);
  row.state = together(row.recipients.values()) ?? state;
}
