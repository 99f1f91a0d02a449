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
  /** Every stored message's blob. */
  blobs(): Iterable<StoredBlob>;
  close(): void;
}

/** What a blob must be. */
export interface StoredBlob {
  id: MessageId;
  /** Octets of the whole file. */
  size: number;
  /** Octets of our Received field at its start: `sha256` is of what follows. */
  fieldSize: number;
  sha256: string;
}
