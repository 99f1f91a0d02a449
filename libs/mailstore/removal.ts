import type { MessageId } from "@millrace/mail";

/** Why messages are removed: it decides how long nothing about them is taken in again. */
export type RemovalReason = "retention" | "erasure";

/** What went with removed messages. */
export interface Removed {
  /** Messages that had not been removed before, also those the store never had. */
  messages: number;
  /** Those of them that were stored: their blobs, and the octets of these. */
  blobs: number;
  octets: number;
  journalEntries: number;
  deliveries: number;
  deadLetters: number;
}

export const nothingRemoved: Removed = {
  messages: 0,
  blobs: 0,
  octets: 0,
  journalEntries: 0,
  deliveries: 0,
  deadLetters: 0,
};

export function addRemoved(a: Removed, b: Removed): Removed {
  return {
    messages: a.messages + b.messages,
    blobs: a.blobs + b.blobs,
    octets: a.octets + b.octets,
    journalEntries: a.journalEntries + b.journalEntries,
    deliveries: a.deliveries + b.deliveries,
    deadLetters: a.deadLetters + b.deadLetters,
  };
}

/** A stored message, as a decision about keeping it needs it. */
export interface KeptMessage {
  id: MessageId;
  /** Where a walk goes on behind it. */
  position: string;
  /** Milliseconds since the epoch. */
  receivedAt: number;
  recipients: string[];
  /** Of its blob. */
  octets: number;
  /** Delivered, bounced, failed, quarantined or discarded. */
  ended: boolean;
  hasDeadLetters: boolean;
}

/** A stretch of all stored messages, newest first. */
export interface Walk {
  limit: number;
  /** Only messages behind this position. */
  after?: string | undefined;
  /** Only messages whose transaction began before this time, in milliseconds since the epoch. */
  until?: number | undefined;
}
