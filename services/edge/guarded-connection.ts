import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { User } from "@millrace/auth";
import type { TlsMode } from "@millrace/service";
import type { SMTPServer, SMTPServerDataStream, SMTPServerSession } from "smtp-server";
import type { SMTPStream } from "smtp-server/lib/smtp-stream.js";
import { malformed } from "./command-line.ts";
import type { Connection, Decisions, GuardLimits, Reception } from "./connection.ts";
import { MessageBody } from "./message-body.ts";
import type { ArrivalOptions } from "./proxied-server.ts";
import type { ProxiedTls } from "./proxy-protocol.ts";
import { type Refusal, refusals } from "./refusal.ts";
import { withStatus } from "./reply-status.ts";
import { StrictConnection } from "./strict-connection.ts";

/** Milliseconds between the reply that cuts a client off and the end of its connection. */
const cutAfter = 1_000;

/** Commands that a body follows. Pipelined behind a refusal, it must not be read as commands. */
const bodyCommand = /^\s*(data|bdat)\b/i;
const quit = /^\s*quit\s*$/i;
const auth = /^\s*auth\b/i;

/** Milliseconds a connection may say nothing and still be taken for a health check, which nobody limits. */
const silence = 10_000;

/** TLS that a proxy has ended without telling more of it. */
const untoldTls: ProxiedTls = { version: "unknown", cipher: "unknown" };

/** What a connection has of its server. */
export interface Guard {
  readonly limits: GuardLimits;
  readonly decisions: Decisions;
  readonly listener: WatchedListener;
  /** Every connection that is not closing, those that count against no limit too. */
  readonly present: Set<GuardedConnection>;
  /** Takes no new work. */
  readonly closing: boolean;
}

/** A listener, as its connections see it. */
export interface WatchedListener {
  tls: TlsMode;
  /** A client that says more than QUIT. Whoever is still silent may be a health check. */
  spoke(session: SMTPServerSession): void;
  /** A reply with 4xx or 5xx. */
  replied(code: number): void;
}

/** A connection with deadlines, a limit of errors and an orderly end. */
export class GuardedConnection extends StrictConnection implements Connection {
  tls: ProxiedTls | null = null;
  readonly local: boolean;
  /** Whether the client has said more than QUIT. */
  spoke = false;
  /** When the client's time is over, by `performance.now()`. */
  deadline: number;
  /** When it counts as a connection of its client even if it still says nothing. */
  silentUntil: number;
  /** Whether it was let in; undefined as long as nobody was asked. */
  private admission: boolean | Promise<boolean> | undefined;
  private errors = 0;
  private reception: Reception | undefined;
  private reply: ((refusal: Refusal | null, text?: string) => void) | undefined;
  private readonly guard: Guard;

  constructor(server: SMTPServer & Guard, socket: Socket, options: ArrivalOptions = {}) {
    super(server, socket, options);
    const { proxied } = options;
    this.guard = server;
    this.local = proxied?.local ?? false;
    if (server.listener.tls !== "implicit" && proxied?.tls !== undefined) {
      // Between the client and a proxy we trust: it knows better than the listener's configuration.
      this.session.secure = this.secure = proxied.tls !== null;
      this.tls = proxied.tls;
    } else if (server.listener.tls === "proxy") {
      this.tls = untoldTls;
    }
    const now = performance.now();
    this.deadline = now + server.limits.commandTimeout;
    this.silentUntil = this.local ? Number.POSITIVE_INFINITY : now + silence;
  }

  protected override get decisions(): Decisions {
    return this.guard.decisions;
  }

  get user(): User | null {
    // smtp-server's own place for it: STARTTLS empties it.
    return (this.session.user as User | undefined) || null;
  }

  /** In a message, from DATA to the reply. */
  get busy(): boolean {
    return Boolean(this._dataStream);
  }

  /** In a message whose final dot has not come. */
  get receiving(): boolean {
    return this.busy && this._parser !== false && this._parser._dataMode;
  }

  answer(refusal: Refusal | undefined, text?: string): void {
    const reply = this.reply;
    this.reply = undefined;
    this.reception = undefined;
    if (!refusal) this.errors = 0;
    // Before the reply: with it, smtp-server goes on to the commands that stand behind the message.
    this.awaitCommand();
    reply?.(refusal ?? null, text);
    if (this.guard.closing) this.dismiss();
  }

  allow(milliseconds: number): void {
    this.deadline = performance.now() + milliseconds;
  }

  cut(refusal: Refusal): void {
    this.send(refusal.responseCode, refusal.message);
    this.close();
    // Closing goes on reading for seconds, and a reset at once could overtake the reply. So nothing is read, and a
    // client in full flow stands still until it has had the time to hear us.
    const socket = this._socket.pause();
    setTimeout(() => socket.destroy(), cutAfter).unref();
  }

  dismiss(): void {
    this.send(421, "4.3.2 Service is closing");
  }

  expire(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    if (this.reception && !this.receiving) this.reception.overdue();
    else this.send(421, "4.4.2 Timeout, closing connection");
  }

  secured(socket: Socket | TLSSocket): void {
    if (socket instanceof TLSSocket) {
      this.tls = { version: socket.getProtocol() ?? "unknown", cipher: socket.getCipher().name };
    }
    this.awaitCommand();
  }

  receive(body: SMTPServerDataStream, reply: (refusal: Refusal | null, text?: string) => void): void {
    this.reply = reply;
    try {
      this.reception = this.decisions.data(this);
      (body as unknown as MessageBody).reception = this.reception;
    } catch {
      this.cut(refusals.temporaryAndCut);
    }
  }

  override close(): void {
    this.leave();
    super.close();
  }

  override _onClose(): void {
    this.leave();
    super._onClose();
  }

  private leave(): void {
    this.guard.present.delete(this);
    if (this.admission instanceof Promise) void this.admission.then(() => this.decisions.left(this));
    else if (this.admission) this.decisions.left(this);
  }

  /** Asks once for its place among the connections of its client, and says 421 when there is none. */
  admit(): boolean | Promise<boolean> {
    this.silentUntil = Number.POSITIVE_INFINITY;
    this.admission ??=
      this.decisions.admit(this)?.then((refusal) => {
        if (refusal && !this._closing) this.send(refusal.responseCode, refusal.message);
        this.admission = !refusal;
        return this.admission;
      }) ?? true;
    return this.admission;
  }

  private awaitCommand(): void {
    const { commandTimeout, dataTimeout } = this.guard.limits;
    this.deadline = performance.now() + (this.receiving ? dataTimeout : commandTimeout);
  }

  override _onCommand(command: Buffer, callback?: () => void): void {
    // What arrives during a TLS handshake was sent in the clear, and is dropped.
    if (this._upgrading) {
      super._onCommand(command, callback);
      return;
    }
    this.deadline = Number.POSITIVE_INFINITY;
    if (!this.spoke && !this.local && !quit.test(command.toString("latin1", 0, 8))) {
      this.spoke = true;
      this.guard.listener.spoke(this.session);
    }
    // Who talks before the greeting is turned away whatever the answer would be.
    const admitted = !this.spoke || !this._ready || this.admit();
    if (admitted instanceof Promise)
      void admitted.then((is) => is && !this._closing && !this._closed && this.run(command, callback));
    else if (admitted) this.run(command, callback);
  }

  /** The original runs any line; here no octet passes that could mean another thing further on. */
  private run(command: Buffer, callback?: () => void): void {
    // The original counts to ten by itself; our own count is the one that is configured.
    this._unrecognizedCommands = 0;
    const next = () => {
      this.awaitCommand();
      callback?.();
    };
    const verb = command.toString("latin1", 0, 16);
    // A line of AUTH is no command, whatever letters its base64 begins with.
    const continued = this._nextHandler !== false;
    if (this._ready && !this.guard.closing && malformed(command)) {
      this.send(501, "5.5.2 Command has characters that are not allowed");
      setImmediate(next);
    } else if (
      this._ready &&
      !continued &&
      !this.confidential &&
      this.decisions.authenticate &&
      auth.test(verb)
    ) {
      this.send(refusals.authenticationNeedsTls.responseCode, refusals.authenticationNeedsTls.message);
      setImmediate(next);
    } else {
      super._onCommand(command, next);
    }
    if (!this.busy && !this._closing && !continued && bodyCommand.test(verb)) this.close();
  }

  /** The original knows one status for each reply code, and adds it; a text may bring its own here. */
  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    const { text, status } = withStatus(code, data, context);
    if (code !== 220) this.gatherReplies();
    if (code >= 400) this.guard.listener.replied(code);
    super.send(code, text, status);
    if (code < 500 || this._closing) return;
    if (++this.errors < this.guard.limits.maxErrors) return;
    this.guard.listener.replied(421);
    super.send(421, "4.7.0 Too many errors", false);
  }

  /**
   * The original writes each reply by itself; those to a pipelined batch leave in one piece here. Not a 220: the one
   * to STARTTLS has to be out before the handshake takes the socket over.
   */
  private gatherReplies(): void {
    const socket = this._socket;
    if (socket.writableCorked > 0) return;
    socket.cork();
    process.nextTick(() => socket.uncork());
  }

  override _createParser(): SMTPStream {
    const parser = super._createParser();
    // Called once for every final dot; before it the client has to hurry, after it we have.
    const endDataMode = parser._endDataMode;
    parser._endDataMode = (...args) => {
      this.deadline = performance.now() + this.guard.limits.commitTimeout;
      endDataMode.apply(parser, args);
    };
    // As the original, but for the kind of stream.
    parser.startDataMode = (maxOctets) => {
      const body = new MessageBody() as unknown as SMTPServerDataStream;
      parser._dataMode = true;
      parser._maxBytes = Number(maxOctets) || Number.POSITIVE_INFINITY;
      parser.dataBytes = 0;
      parser._atDataStart = true;
      parser._dataStream = body;
      return body;
    };
    return parser;
  }
}
