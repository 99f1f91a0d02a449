import type { MessageId } from "@millrace/mail";

/** A job that will not be tried again by itself: kept until it is replayed or discarded. */
export interface DeadLetter {
  /** Given once and never again; a job that is replayed and dies once more gets a new one. */
  number: number;
  message: MessageId;
  worker: string;
  /** Name of the unit of work, `<worker>/<event>[/<key>]`. */
  job: string;
  /** ISO 8601 of its end. */
  at: string;
  attempts: number | null;
  /** Id of the target, for deliveries. */
  target: string | null;
  /** The same for people: `webhook:https://app.example.com/inbound`. */
  label: string | null;
  /** Class of the error, such as "PermanentFailure". */
  class: string;
  /** Short, stable word of the error: an errno, an SMTP code, "HTTP 503". */
  code: string | null;
  error: string;
  /** Whether it was a permanent failure; else it was the last attempt. */
  permanent: boolean;
  /** Enhanced status code (RFC 3463). */
  status: string | null;
  /** The far side's last words. */
  reply: string | null;
  /** Reverse-path, "" when null; null while the message is not in the store. */
  sender: string | null;
  /** Those recipients the job was still for. */
  recipients: string[] | null;
  subject: string | null;
}

/**
 * Which dead letters; every field narrows it. In `error`, `target` and `subject` a text is found anywhere in the
 * field, without regard to case; one with `*` is a pattern for the whole field.
 */
export interface DeadLetterQuery {
  numbers?: readonly number[] | undefined;
  messages?: readonly MessageId[] | undefined;
  worker?: string | undefined;
  /** Milliseconds since the epoch: dead at that time or later. */
  since?: number | undefined;
  /** Dead before that time. */
  until?: number | undefined;
  /** In the error's code, class, status, text or reply. */
  error?: string | undefined;
  /** In the target's id or label. */
  target?: string | undefined;
  subject?: string | undefined;
  /** Whole address or pattern with `*`; "<>" is the null reverse-path. */
  sender?: string | undefined;
  /** Whole address or pattern with `*`, of one of the recipients. */
  recipient?: string | undefined;
}

/** A stretch of a list of dead letters, by number. */
export interface DeadLetterPage {
  limit: number;
  /** Only higher numbers than this. */
  after?: number | undefined;
  /** Only lower numbers than this. */
  before?: number | undefined;
  newestFirst?: boolean | undefined;
}

export interface DeadLetterCount {
  total: number;
  /** The highest number among them, 0 when there is none. */
  newest: number;
  /** By worker and error (its code, else its class), most first. */
  groups: { worker: string; error: string; count: number }[];
}
