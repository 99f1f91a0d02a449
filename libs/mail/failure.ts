import { milliseconds } from "./duration.ts";

/** What a failure can say beside its text. */
export interface FailureDetails {
  /** Enhanced status code (RFC 3463), such as "5.1.1". */
  status?: string;
  /** The far side's own words, such as "550 5.1.1 no such user" or "HTTP 503". */
  reply?: string;
  /** A short, stable word to filter by: an errno ("ECONNREFUSED"), an SMTP code ("550"), a class. */
  code?: string;
  cause?: unknown;
}

/**
 * What a failure is, as a mark on the object and not only its class: a worker may have been installed with a copy of
 * this library of its own, and its failures must be known for what they are all the same.
 */
const mark = Symbol.for("millrace.failure");

/** It will not work however often it is tried: the job goes to the dead letters at once. */
export class PermanentFailure extends Error {
  override name = "PermanentFailure";
  readonly [mark] = "permanent";
  readonly status: string;
  readonly reply: string | undefined;
  readonly code: string | undefined;

  constructor(message: string, details: FailureDetails = {}) {
    super(message, { cause: details.cause });
    this.status = details.status ?? "5.0.0";
    this.reply = details.reply;
    this.code = details.code;
  }
}

/**
 * It may work later. Any other error counts as temporary too; this class adds when to come back and what
 * the far side said.
 */
export class TemporaryFailure extends Error {
  override name = "TemporaryFailure";
  readonly [mark]: "temporary" | "suspended" = "temporary";
  readonly status: string;
  readonly reply: string | undefined;
  readonly code: string | undefined;
  /** Milliseconds to wait before the next attempt, when the far side asked for it. */
  readonly retryAfter: number | undefined;

  constructor(message: string, details: FailureDetails & { retryAfter?: number | undefined } = {}) {
    super(message, { cause: details.cause });
    this.status = details.status ?? "4.0.0";
    this.reply = details.reply;
    this.code = details.code;
    this.retryAfter = details.retryAfter;
  }
}

/**
 * It was not even tried, because it could not have worked: comes back after `retryAfter` at no attempt's cost, or is
 * given up where there is none. Unlike a snooze it is on record. When to give up is for whoever suspends to say: a
 * retry policy counts attempts.
 */
export class Suspended extends TemporaryFailure {
  override name = "Suspended";
  override readonly [mark] = "suspended";
}

/** "Not before": a temporary failure that says when to try again. */
export class RetryAfter extends TemporaryFailure {
  override name = "RetryAfter";

  /**
   * @param delay milliseconds, or a duration such as "10m"; beyond a day, a day
   * @throws TypeError when it is neither
   */
  constructor(
    delay: number | string,
    message = "asked to be tried again later",
    details: FailureDetails = {},
  ) {
    super(message, { ...details, retryAfter: milliseconds(delay) });
  }
}

/** Whether whoever threw it has said that another attempt is of no use. */
export function isPermanent(error: unknown): boolean {
  return markOf(error) === "permanent";
}

export function isSuspended(error: unknown): error is Suspended {
  return markOf(error) === "suspended";
}

/** Milliseconds the next attempt is to wait at least, where the failure says so. */
export function askedToWait(error: unknown): number | undefined {
  const kind = markOf(error);
  return kind === "temporary" || kind === "suspended" ? (error as TemporaryFailure).retryAfter : undefined;
}

function markOf(error: unknown): unknown {
  return typeof error === "object" && error !== null ? (error as { [mark]?: unknown })[mark] : undefined;
}

/** A failure as the journal and the dead letters keep it. */
export interface FailureRecord {
  class: string;
  message: string;
  permanent: boolean;
  code?: string;
  status?: string;
  reply?: string;
  /** Where in a worker's own code it came from: `invoices.ts:12:7`. */
  at?: string;
}

/** Turns whatever was thrown into a record. Never throws: an error that cannot be read is still an error. */
export function describeFailure(error: unknown): FailureRecord {
  const e = (error instanceof Error ? error : new Error(String(error))) as Error & {
    code?: unknown;
    status?: unknown;
    reply?: unknown;
  };
  return {
    class: e.name,
    message: e.message.slice(0, 2_000),
    permanent: isPermanent(error),
    ...(typeof e.code === "string" ? { code: e.code } : {}),
    ...(typeof e.status === "string" ? { status: e.status } : {}),
    ...(typeof e.reply === "string" ? { reply: e.reply.slice(0, 2_000) } : {}),
  };
}
