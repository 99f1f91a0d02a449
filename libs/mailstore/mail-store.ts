import type { Readable } from "node:stream";
import type { Defect, JournalEntry, Manifest, MessageId, MessageState, ParsedMessage } from "@millrace/mail";
import type { DeadLetter, DeadLetterCount, DeadLetterPage, DeadLetterQuery } from "./dead-letter.ts";
import type { PersonalData } from "./personal-data.ts";
import type { KeptMessage, RemovalReason, Removed, Walk } from "./removal.ts";
import type { MessageQuery, Selected } from "./selection.ts";
import type { StoreSnapshot } from "./store-snapshot.ts";

/** What `messages list` shows of one message. */
export interface MessageSummary {
  id: MessageId;
  /** ISO 8601, UTC. */
  receivedAt: string;
  /** Reverse-path of the envelope, "" when null. */
  from: string;
  /** Recipients of the envelope. */
  to: string[];
  subject: string;
  /** Octets as the client sent them, before our Received field. */
  size: number;
  sha256: string;
  state: MessageState;
  /** Codes of the defects the parser found. */
  defects: Defect["code"][];
}

/** One message on its way into the store. */
export interface StoreItem {
  manifest: Manifest;
  parsed: ParsedMessage;
  /** The whole raw message, our Received field first; small ones as octets, large ones as a stream. */
  raw: Buffer | (() => Readable);
}

/** Where one target of a message stands: a projection of the journal. */
export interface DeliveryStatus {
  /** Id of the target; "" for all of them when the delivery died, or was held back, before they were known. */
  target: string;
  label: string;
  recipients: string[];
  /** Those recipients who have the message. */
  delivered: string[];
  /**
   * Of all its recipients together: deferred before pending, failed before bounced, bounced before delivered.
   * `quarantined` and `discarded` are of all targets, before they are known.
   */
  state: "pending" | "deferred" | "delivered" | "failed" | "bounced" | "quarantined" | "discarded";
  /** Number of the last attempt; a replay counts from 1 again. */
  attempts: number;
  /** ISO 8601 of the last attempt, null before the first. */
  lastAttemptAt: string | null;
  /** The far side's last words, or our own reason. */
  lastReply: string | null;
}

/** Which messages a list shows; every field narrows it. */
export interface ListQuery {
  /** Most messages to give back, from 1. Default 50. */
  limit?: number;
  /** Only messages with a smaller id than this one, for paging. */
  before?: MessageId;
  state?: MessageState;
  /** Words to find in subject, addresses and text. Every word must be there; "…" is a phrase; a last `*` a prefix. */
  search?: string;
}

/**
 * The durable end of the pipeline: blobs with the raw messages, an index over them, and the journal for good.
 * One conformance suite (`mail-store-suite.ts`) runs on every implementation.
 */
export interface MailStore {
  /**
   * Stores messages: blob first (file and folder fsynced), then the rows, in one transaction. Durable when it
   * resolves. A message that is there already is left as it is, so that a job may run twice; one that was removed
   * is not taken in.
   * @throws PartlyStored when some could not be stored, and which: the others are durable all the same
   * @throws anything else when no row was written; in both cases the batch may be tried again as a whole
   */
  put(items: readonly StoreItem[]): Promise<void>;
  has(id: MessageId): boolean;
  manifest(id: MessageId): Manifest | undefined;
  parsed(id: MessageId): ParsedMessage | undefined;
  summary(id: MessageId): MessageSummary | undefined;
  /** The raw message, our Received field first. @throws NotStored */
  raw(id: MessageId): Readable;
  /** The raw message in one piece. @throws NotStored */
  read(id: MessageId): Promise<Buffer>;
  /** Newest first. @throws RangeError when `limit` is not a whole number from 1 */
  list(query?: ListQuery): MessageSummary[];
  /** As many as there are in each state; costs the same at any size. Of `received` the store knows none: 0. */
  counts(): Record<MessageState, number>;
  deliveries(id: MessageId): DeliveryStatus[];
  /** By number, oldest first unless the page says otherwise. */
  deadLetters(query: DeadLetterQuery, page: DeadLetterPage): DeadLetter[];
  countDeadLetters(query: DeadLetterQuery): DeadLetterCount;
  /** Up to `limit` messages in the order in which they came, behind the position `after`. */
  select(query: MessageQuery, after: string | undefined, limit: number): Selected[];
  countSelected(query: MessageQuery): number;
  /** The store at this instant, for an audit; undefined while it has not been made. To be closed. */
  snapshot(): StoreSnapshot | undefined;
  /** Why a stored message's blob is not what it must be; undefined when it is. Looks at its size, not into it. */
  blobDefect(id: MessageId, size: number): string | undefined;
  /** What happened to a message, in order of time. */
  journal(id: MessageId): JournalEntry[];
  /**
   * Takes journal entries over for good and moves the states that follow from them, in one transaction with
   * the cursor: entries at or before the cursor are skipped, so that giving them twice changes nothing.
   */
  archive(entries: readonly JournalEntry[]): void;
  /** Id of the last journal entry that was archived; "0-0" at the start. */
  cursor(): string;
  /** All stored messages, newest first, page by page: for a decision about keeping each. */
  walk(walk: Walk): KeptMessage[];
  /**
   * Removes messages for good: every row and word of them in one transaction, then their blobs. What comes later about
   * one of them, a `put` or a journal entry, is not taken in. A message the store never had can be removed all the
   * same, so that it never gets there. Removing twice is counted once.
   */
  remove(ids: readonly MessageId[], why: RemovalReason): Promise<Removed>;
  /** Unlinks the blobs of removed messages that a crash has left. @returns how many */
  finishRemovals(): Promise<number>;
  /** What the store holds about one person. */
  personalData(): PersonalData;
  close(): void;
}
