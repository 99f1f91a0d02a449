import type { MessageId, MessageState } from "@millrace/mail";

/** The store as it was at one instant, for an audit: no writer moves anything under it. To be closed. */
export interface StoreSnapshot {
  /** Id of the last journal entry it has. */
  cursor: string;
  /** Messages whose acceptance is in the journal. It leaves the journal with a message that is removed. */
  accepted: number;
  /** Accepted messages that were removed for good, by retention or erasure: none of the other figures has them. */
  removed: number;
  /** Stored messages in each state. */
  counts: Record<MessageState, number>;
  deadLetters: number;
  /** Whether the message's acceptance is in the journal. */
  hasArrived(id: MessageId): boolean;
  /** State of a stored message. */
  stateOf(id: MessageId): MessageState | undefined;
  /** Accepted messages that are not stored. */
  notStored(): Iterable<MessageId>;
  /** Stored messages that have not reached an end. */
  unfinished(): Iterable<MessageId>;
  /** Stored messages whose acceptance is not in the journal. */
  unaccepted(): Iterable<MessageId>;
  /** Failed messages with no dead letter, none discarded and none replayed since: failures nobody would hear of. */
  failedSilently(): Iterable<MessageId>;
  /** Every stored message with the octets its blob must have and the SHA-256 of those the client sent. */
  blobs(): Iterable<{ id: MessageId; size: number; sha256: string }>;
  close(): void;
}
