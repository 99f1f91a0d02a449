import type { SessionOptions } from "./session-socket.ts";
import { SmtpSession } from "./smtp-session.ts";

/** Milliseconds an unused connection is kept: less than a server's own patience, and enough for the next message. */
const idleTime = 15_000;
/** Milliseconds a connection is kept at all, so that a server behind a balancer gets its share in time. */
const lifeTime = 300_000;

/**
 * Connections to one server, kept for the next message. How many there are at once is the caller's choice: each
 * attempt has one to itself, and a new one is made when none is free.
 */
export class SessionPool {
  private readonly options: SessionOptions;
  private readonly idle: SmtpSession[] = [];
  private closed = false;

  constructor(options: SessionOptions) {
    this.options = options;
  }

  /** @param fresh never one that was used before @throws SessionError */
  async acquire(signal: AbortSignal, fresh = false): Promise<SmtpSession> {
    if (!fresh) {
      for (let session = this.idle.pop(); session; session = this.idle.pop()) {
        if (session.failure) continue;
        if (Date.now() - session.openedAt < lifeTime) {
          session.wake();
          return session;
        }
        session.quit();
      }
    }
    return SmtpSession.open(this.options, signal);
  }

  release(session: SmtpSession): void {
    if (session.failure) return;
    if (this.closed) session.quit();
    else {
      session.rest(idleTime);
      this.idle.push(session);
    }
  }

  close(): void {
    this.closed = true;
    for (const session of this.idle.splice(0)) session.quit();
  }
}
