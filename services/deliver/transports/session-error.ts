/** The connection failed, or never became one. Says nothing about a message, and may be gone the next time. */
export class SessionError extends Error {
  override name = "SessionError";
  /** An errno, an SMTP code, or one of ours: "TIMEOUT", "CLOSED", "PROTOCOL", "TLS", "AUTH", "ABORTED". */
  readonly code: string;

  constructor(message: string, code: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** A handshake that failed once there was a connection is a matter of TLS, not of the network. */
export function asTlsFailure(failure: SessionError): SessionError {
  if (networkErrors.has(failure.code)) return failure;
  return new SessionError(`TLS could not be set up: ${failure.message}`, "TLS", failure.cause);
}

const networkErrors = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ETIMEDOUT",
  "TIMEOUT",
  "ABORTED",
]);

export function aborted(): SessionError {
  return new SessionError("the attempt was broken off: its time was over, or the process stops", "ABORTED");
}

/** Several addresses that were all tried make an AggregateError without a text of its own. */
export function describe(error: Error): string {
  const first = error instanceof AggregateError ? (error.errors[0] as Error | undefined) : undefined;
  return first?.message ?? error.message;
}
