import type { MailConnection } from "./mail-connection.ts";
import { type ConnectionOptions, openConnection } from "./open-connection.ts";

/** Milliseconds an unused connection is kept: less than a server's own patience, and enough for the next message. */
const idleTime = 15_000;
/** Milliseconds a connection is kept at all, so that a server behind a balancer gets its share in time. */
const lifeTime = 300_000;

/**
 * Connections to one server, kept for the next message. How many there are at once is the caller's choice: each
 * attempt has one to itself, and a new one is made when none is free.
 */
export class SessionPool {
  private readonly options: ConnectionOptions;
  private readonly idle: { connection: MailConnection; since: number }[] = [];
  private timer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(options: ConnectionOptions) {
    this.options = options;
  }

  /** @param fresh never one that was used before @throws SMTPError */
  async acquire(signal: AbortSignal, fresh = false): Promise<MailConnection> {
    // An attempt that is over before it begins must not take kept connections with it.
    const useKept = !fresh && !signal.aborted;
    for (let kept = useKept && this.idle.pop(); kept; kept = this.idle.pop()) {
      const { connection } = kept;
      if (connection.failure) continue;
      if (Date.now() - connection.openedAt >= lifeTime) {
        connection.quit();
        continue;
      }
      const release = connection.bindTo(signal);
      const ready = await connection.restore();
      release();
      if (ready) return connection;
    }
    return openConnection(this.options, signal);
  }

  release(connection: MailConnection): void {
    if (connection.failure) return;
    if (this.closed) connection.quit();
    else {
      this.idle.push({ connection, since: Date.now() });
      this.timer ??= setTimeout(() => this.sweep(), idleTime).unref();
    }
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    for (const { connection } of this.idle.splice(0)) connection.quit();
  }

  /** One timer for all. The last one released is the first one taken, so the longest unused stand in front. */
  private sweep(): void {
    const due = Date.now() - idleTime;
    while (this.idle[0] && this.idle[0].since <= due) this.idle.shift()?.connection.quit();
    const [next] = this.idle;
    this.timer = next && setTimeout(() => this.sweep(), next.since - due + 1).unref();
  }
}
