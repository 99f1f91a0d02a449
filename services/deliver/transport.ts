import type { Readable } from "node:stream";
import type { HeaderEdits, Manifest, MessageId, ParsedMessage, Target } from "@millrace/mail";

/** One attempt to hand one message to one target. */
export interface DeliveryRequest {
  message: MessageId;
  manifest: Manifest;
  target: Target;
  /** Those of the target's recipients that are still to be delivered. */
  recipients: string[];
  /** From 1. */
  attempt: number;
  /** `<message>.<target>`: the same at every attempt and every replay, for the far side to tell a repetition. */
  deliveryId: string;
  /** Edits of the stored header, which `raw`, `read` and `size` have seen; `parsed` has not. */
  header?: HeaderEdits | undefined;
  /** The raw message as a stream, as it is to be delivered: the stored one with its edits. */
  raw(): Promise<Readable>;
  /** The raw message in one piece: for messages known to be small. */
  read(): Promise<Buffer>;
  /** Octets of `raw`. */
  size: number;
  parsed(): Promise<ParsedMessage>;
  /** Aborted when the time for the attempt is over or the process stops: the attempt is broken off. */
  signal: AbortSignal;
}

/** What became of one recipient. */
export interface RecipientOutcome {
  recipient: string;
  /** "deferred": may work later; "failed": will not, however often it is tried. */
  result: "delivered" | "deferred" | "failed";
  /** The far side's words on one line, at most about 1 KiB, or our own reason. */
  reply: string;
  /** A short, stable word to filter by: an SMTP code ("550"), "HTTP 503", an errno ("ECONNREFUSED"). */
  code?: string;
  /** Enhanced status code (RFC 3463), when the far side gave one or the reason has one. */
  status?: string;
  /** Milliseconds the far side asked us to wait. */
  retryAfter?: number;
  /**
   * The target as a whole is in trouble: it could not be reached, did not answer, or says so itself (421, HTTP 5xx and
   * 429). It is no word on this message.
   */
  sick?: true;
}

/**
 * A way to deliver, bound to one destination and kept for many messages: connections are reused. It classifies:
 * there is one outcome for each recipient of the request, in their order.
 * @throws only for trouble of our own (the message cannot be read, the disk is full): that counts as temporary
 */
export interface Transport {
  deliver(request: DeliveryRequest): Promise<RecipientOutcome[]>;
  /** Lets go of idle connections at once, and of busy ones when their attempt is over. */
  close(): Promise<void>;
}

/** The same outcome for everybody. */
export function everyRecipient(
  recipients: readonly string[],
  outcome: Omit<RecipientOutcome, "recipient">,
): RecipientOutcome[] {
  return recipients.map((recipient) => ({ recipient, ...outcome }));
}

/** A far side's words made fit for a log line and a journal: one line, no control characters, at most 1,000 of them. */
export function oneLine(text: string): string {
  if (/^[\x21-\x7e](?:[\x20-\x7e]{0,998}[\x21-\x7e])?$/.test(text)) return text;
  // A control character could paint over a terminal or forge a second line.
  return text
    .slice(0, 4_000)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, " ")
    .trim()
    .slice(0, 1_000);
}
