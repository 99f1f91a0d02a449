import type { MessageId, MessageState } from "@millrace/mail";

/** Which stored messages; every field narrows it. Texts and patterns are those of `DeadLetterQuery`. */
export interface MessageQuery {
  messages?: readonly MessageId[] | undefined;
  /** Milliseconds since the epoch: accepted at that time or later. */
  since?: number | undefined;
  /** Accepted before that time. */
  until?: number | undefined;
  sender?: string | undefined;
  recipient?: string | undefined;
  subject?: string | undefined;
  state?: MessageState | undefined;
  /** In the id or the label of one of its targets. */
  target?: string | undefined;
}

/** A message of a selection, and where a later look goes on behind it. */
export interface Selected {
  id: MessageId;
  position: string;
}
