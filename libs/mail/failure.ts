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

/** It will not work however often it is tried: the job goes to the dead letters at once. */
export class PermanentFailure extends Error {
  override name = "PermanentFailure";
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
  readonly status: string;
  readonly reply: string | undefined;
  readonly code: string | undefined;
  /** Milliseconds to wait before the next attempt, when the far side asked for it. */
  readonly retryAfter: number | undefined;

  constructor(message: string, details: FailureDetails & { retryAfter?: number } = {}) {
    super(message, { cause: details.cause });
    this.status = details.status ?? "4.0.0";
    this.reply = details.reply;
    this.code = details.code;
    this.retryAfter = details.retryAfter;
  }
}

/**
 * It was not even tried, because it could not have worked: comes back after `retryAfter` at no attempt's cost. Unlike
 * a snooze it is on record, and the time it takes counts towards giving up.
 */
export class Suspended extends TemporaryFailure {
  override name = "Suspended";
}

/** A failure as the journal and the dead letters keep it. */
export interface FailureRecord {
  class: string;
  message: string;
  permanent: boolean;
  code?: string;
  status?: string;
  reply?: string;
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
    permanent: e instanceof PermanentFailure,
    ...(typeof e.code === "string" ? { code: e.code } : {}),
    ...(typeof e.status === "string" ? { status: e.status } : {}),
    ...(typeof e.reply === "string" ? { reply: e.reply.slice(0, 2_000) } : {}),
  };
}
