import type { MessageId, MessageState } from "@millrace/mail";

/**
 * The ways in which a message can be other than the promise says. A closed list: `millrace audit` prints these words.
 */
export const auditProblems = {
  lost: "accepted, and neither in the mail store nor in the spool",
  stranded: "accepted, its body is in the spool, and nobody has work for it",
  unfinished: "stored, not at an end, and nobody has work for it",
  unwoken: "a unit of its work has no job in the queue",
  silent: "it failed, and no dead letter tells of it",
  unaccepted: "stored or in flight, and its acceptance is not in the journal",
  damaged: "its blob is missing, or is not what was stored",
  unknown: "acknowledged to its sender, and never accepted here",
} as const;
export type AuditProblem = keyof typeof auditProblems;

/** One message for which the promise does not hold. */
export interface AuditFinding {
  message: MessageId;
  problem: AuditProblem;
  /** What was seen, in words. */
  detail: string;
  /** What `repair` did about it; null when nothing can be done from here, undefined when it was not asked to. */
  repaired?: string | null;
}

/** In flight: work is open. `other`: at its end by its deliveries, and another worker's work is open. */
export type InFlightCounts = Record<"received" | "stored" | "deferred" | "other", number>;

/**
 * `archiving`: at its end, and the entries that tell which are on their way to the mail store. `uncleared`: it waits for
 * leave to be delivered, and whoever should give it has a dead letter instead.
 */
export type TerminalState = MessageState | "archiving" | "uncleared";

/** What an audit found, as of one instant. */
export interface AuditReport {
  /** ISO 8601: messages accepted later are not in these figures. */
  asOf: string;
  accepted: number;
  /** Messages at their end, by state. */
  terminal: Partial<Record<TerminalState, number>>;
  inFlight: InFlightCounts;
  /** Messages that were removed for good, by retention or erasure: in none of the other figures. */
  removed: number;
  /** accepted = terminal + in flight, and there is no finding. */
  holds: boolean;
  /** Accepted messages that are neither: accepted - terminal - in flight. */
  missing: number;
  deadLetters: number;
  /** Milliseconds since the acceptance of the oldest message in flight, null when there is none. */
  oldestInFlightMs: number | null;
  /** Blobs that were looked at, and how. */
  blobs: { checked: number; by: BlobCheck };
  findings: AuditFinding[];
  /** Milliseconds the audit took. */
  ms: number;
}

/** How blobs are looked at: not at all, by their size, or by their SHA-256. */
export type BlobCheck = "none" | "size" | "content";

/** States in which nothing more happens to a message by itself. */
export const terminalStates: ReadonlySet<MessageState> = new Set([
  ...(["delivered", "bounced", "failed", "quarantined", "discarded"] as const),
]);
