import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type {
  SMTPServerAddress,
  SMTPServerAuthentication,
  SMTPServerAuthenticationResponse,
  SMTPServerDataStream,
  SMTPServerOptions,
  SMTPServerSession,
} from "smtp-server";
import type { SMTPConnection, TLSError } from "smtp-server/lib/smtp-connection.js";
import type { Connection, Decisions, GuardLimits, Verdict } from "./connection.ts";
import { type Guard, GuardedConnection, type WatchedListener } from "./guarded-connection.ts";
import { type Arrival, type ArrivalOptions, ProxiedServer } from "./proxied-server.ts";
import { Refusal, refusals } from "./refusal.ts";

/** Milliseconds between two looks at the deadlines: one timer for all connections instead of one a command. */
const sweepEvery = 200;
/** Milliseconds a closing server lets clients go on with a message whose final dot has not come. */
const lastMessages = 15_000;

/** One listener, and what it shares with the others of its edge. */
export interface GuardedListener extends Arrival, WatchedListener {
  /** The connections of all listeners that count against SMTP_MAX_CLIENTS. */
  connections: Set<SMTPConnection>;
  /** A connection ended that never said more than QUIT, or was the proxy's own. */
  probed(): void;
  /** An attempt at AUTH that was refused. */
  unauthenticated(refusal: Refusal): void;
}

/** smtp-server with deadlines, a limit of errors and an orderly end. */
export class GuardedServer extends ProxiedServer implements Guard {
  readonly decisions: Decisions;
  readonly limits: GuardLimits;
  readonly listener: GuardedListener;
  /** Every connection that is not closing, those that count against no limit too. */
  readonly present = new Set<GuardedConnection>();
  private readonly bySession = new WeakMap<SMTPServerSession, GuardedConnection>();
  private readonly sweep: NodeJS.Timeout;

  constructor(
    options: SMTPServerOptions,
    limits: GuardLimits,
    decisions: Decisions,
    listener: GuardedListener,
  ) {
    // smtp-server's own idle timer stays behind ours: a trickle of octets extends it, so it is no limit.
    const deciding = limits.decisionTimeout + limits.commitTimeout;
    const longest = Math.max(limits.commandTimeout, limits.dataTimeout, deciding);
    super(
      {
        ...options,
        socketTimeout: longest + 60_000,
        closeTimeout: lastMessages + deciding,
      },
      listener,
    );
    this.connections = listener.connections;
    this.listener = listener;
    this.limits = limits;
    this.decisions = decisions;
    this.sweep = setInterval(() => this.expire(), sweepEvery).unref();
  }

  get closing(): boolean {
    return this._closeTimeout !== false;
  }

  /** Takes no new work, ends what is under way, and resolves when the last connection is gone. */
  shutDown(): Promise<void> {
    const patience = setTimeout(() => {
      for (const connection of [...this.present]) if (connection.receiving) connection.dismiss();
    }, lastMessages).unref();
    return new Promise((resolve) => {
      // Calls back when every socket is closed, or when closeTimeout is over.
      this.close(() => {
        clearTimeout(patience);
        clearInterval(this.sweep);
        resolve();
      });
      for (const connection of [...this.present]) if (!connection.busy) connection.dismiss();
    });
  }

  override connect(socket: Socket, options?: ArrivalOptions): void {
    const connection = new GuardedConnection(this, socket, options);
    this.bySession.set(connection.session, connection);
    this.present.add(connection);
    if (!connection.local) this.connections.add(connection);
    connection.on("error", (error: TLSError) => {
      if (error.meta) this.handshakeFailed(error, connection.remoteAddress);
      this._onError(error);
    });
    connection.init();
    if (this.closing) connection.dismiss();
  }

  override onConnect(session: SMTPServerSession, callback: () => void): void {
    this.decisions.connected(session);
    callback();
  }

  override onClose(session: SMTPServerSession): void {
    if (!this.bySession.get(session)?.spoke) this.listener.probed();
    this.decisions.closed(session);
  }

  override onSecure(socket: Socket | TLSSocket, session: SMTPServerSession, callback: () => void): void {
    this.bySession.get(session)?.secured(socket);
    callback();
  }

  override onAuth(
    { username, password, authcid, authzid }: SMTPServerAuthentication,
    session: SMTPServerSession,
    callback: (refusal: Error | null, response?: SMTPServerAuthenticationResponse) => void,
  ): void {
    const { authenticate } = this.decisions;
    const refuse = (refusal: Refusal) => {
      this.listener.unauthenticated(refusal);
      callback(refusal);
    };
    // RFC 4616: to act as somebody else is nothing we would allow anybody.
    const asAnother = authcid && authzid && authcid !== authzid;
    if (
      !authenticate ||
      !session.secure ||
      asAnother ||
      typeof username !== "string" ||
      typeof password !== "string"
    ) {
      refuse(refusals.credentialsInvalid);
      return;
    }
    authenticate({ name: username, password, client: session.remoteAddress }).then(
      (answer) => (answer instanceof Refusal ? refuse(answer) : callback(null, { user: answer })),
      () => refuse(refusals.authenticationUnavailable),
    );
  }

  override onMailFrom(
    address: SMTPServerAddress,
    session: SMTPServerSession,
    callback: (refusal?: Error | null) => void,
  ): void {
    this.tell(session, callback, (connection) => this.decisions.mail(address, connection));
  }

  override onRcptTo(
    address: SMTPServerAddress,
    session: SMTPServerSession,
    callback: (refusal?: Error | null) => void,
  ): void {
    this.tell(session, callback, (connection) => this.decisions.rcpt(address, connection));
  }

  /** At once where nobody has to be asked. smtp-server runs the next command only when it has been called back. */
  private tell(
    session: SMTPServerSession,
    callback: (refusal?: Error | null) => void,
    decide: (connection: Connection) => Verdict | Promise<Verdict>,
  ): void {
    const connection = this.bySession.get(session);
    const verdict = connection ? decide(connection) : refusals.temporary;
    if (verdict instanceof Promise) verdict.then(callback, () => callback(refusals.temporary));
    else callback(verdict);
  }

  override onData(
    body: SMTPServerDataStream,
    session: SMTPServerSession,
    callback: (refusal?: Error | null, text?: string) => void,
  ): void {
    this.bySession.get(session)?.receive(body, callback);
  }

  private expire(): void {
    const now = performance.now();
    for (const connection of [...this.present]) {
      if (connection.deadline <= now) connection.expire();
      else if (connection.silentUntil <= now) connection.admit();
    }
  }
}
