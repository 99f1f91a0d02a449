import type { Socket } from "node:net";
import { Writable } from "node:stream";
import { TLSSocket } from "node:tls";
import {
  SMTPServer,
  type SMTPServerAddress,
  type SMTPServerDataStream,
  type SMTPServerOptions,
  type SMTPServerSession,
} from "smtp-server";
import { SMTPConnection, type SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import type { SMTPStream } from "smtp-server/lib/smtp-stream.js";
import { isAscii, malformed } from "./command-line.ts";
import type { Connection, Decisions, GuardLimits, Reception } from "./connection.ts";
import { type Refusal, refusals } from "./refusal.ts";

// Everything that knows smtp-server from the inside is in this file, and was read in version 3.21.6, which
// package.json pins. Each override says what the original would do.

/** Milliseconds between two looks at the deadlines: one timer for all connections instead of one a command. */
const sweepEvery = 200;
/** Milliseconds a closing server lets clients go on with a message whose final dot has not come. */
const lastMessages = 15_000;

/** Milliseconds between the reply that cuts a client off and the end of its connection. */
const cutAfter = 1_000;

const beginsWithStatus = /^[245]\.\d{1,3}\.\d{1,3} /;
/** Commands that a body follows. Pipelined behind a refusal, it must not be read as commands. */
const bodyCommand = /^\s*(data|bdat)\b/i;

/** smtp-server with deadlines, a limit of errors and an orderly end. */
export class GuardedServer extends SMTPServer {
  readonly decisions: Decisions;
  readonly limits: GuardLimits;
  private readonly bySession = new WeakMap<SMTPServerSession, GuardedConnection>();
  private readonly sweep: NodeJS.Timeout;

  constructor(options: SMTPServerOptions, limits: GuardLimits, decisions: Decisions) {
    // smtp-server's own idle timer stays behind ours: a trickle of octets extends it, so it is no limit.
    const longest = Math.max(limits.commandTimeout, limits.dataTimeout, limits.commitTimeout);
    super({
      ...options,
      socketTimeout: longest + 60_000,
      closeTimeout: lastMessages + limits.commitTimeout,
    });
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
      for (const connection of this.guarded()) if (connection.receiving) connection.dismiss();
    }, lastMessages).unref();
    return new Promise((resolve) => {
      // Calls back when every socket is closed, or when closeTimeout is over.
      this.close(() => {
        clearTimeout(patience);
        clearInterval(this.sweep);
        resolve();
      });
      for (const connection of this.guarded()) if (!connection.busy) connection.dismiss();
    });
  }

  override connect(socket: Socket, options?: SMTPConnectionOptions): void {
    const connection = new GuardedConnection(this, socket, options);
    this.bySession.set(connection.session, connection);
    this.connections.add(connection);
    connection.on("error", (error) => this._onError(error));
    connection.init();
    if (this.closing) connection.dismiss();
  }

  override onConnect(session: SMTPServerSession, callback: () => void): void {
    this.decisions.connected(session);
    callback();
  }

  override onClose(session: SMTPServerSession): void {
    this.decisions.closed(session);
  }

  override onSecure(socket: Socket | TLSSocket, session: SMTPServerSession, callback: () => void): void {
    this.bySession.get(session)?.secured(socket);
    callback();
  }

  override onMailFrom(
    address: SMTPServerAddress,
    session: SMTPServerSession,
    callback: (refusal?: Error | null) => void,
  ): void {
    callback(this.decisions.mail(address, session));
  }

  override onRcptTo(
    address: SMTPServerAddress,
    session: SMTPServerSession,
    callback: (refusal?: Error | null) => void,
  ): void {
    callback(this.decisions.rcpt(address, session));
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
    for (const connection of this.guarded()) if (connection.deadline <= now) connection.expire();
  }

  private *guarded(): Iterable<GuardedConnection> {
    for (const connection of [...this.connections]) {
      if (connection instanceof GuardedConnection) yield connection;
    }
  }
}

class GuardedConnection extends SMTPConnection implements Connection {
  tls: { version: string; cipher: string } | null = null;
  /** When the client's time is over, by `performance.now()`. */
  deadline: number;
  private errors = 0;
  private reception: Reception | undefined;
  private reply: ((refusal: Refusal | null, text?: string) => void) | undefined;
  private readonly guard: GuardedServer;

  constructor(server: GuardedServer, socket: Socket, options?: SMTPConnectionOptions) {
    super(server, socket, options);
    this.guard = server;
    this.deadline = performance.now() + server.limits.commandTimeout;
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
      this.reception = this.guard.decisions.data(this);
      (body as unknown as Body).reception = this.reception;
    } catch {
      this.cut(refusals.temporaryAndCut);
    }
  }

  private awaitCommand(): void {
    const { commandTimeout, dataTimeout } = this.guard.limits;
    this.deadline = performance.now() + (this.receiving ? dataTimeout : commandTimeout);
  }

  /** The original runs any line; here no octet passes that could mean another thing further on. */
  override _onCommand(command: Buffer, callback?: () => void): void {
    // What arrives during a TLS handshake was sent in the clear, and is dropped.
    if (this._upgrading) {
      super._onCommand(command, callback);
      return;
    }
    this.deadline = Number.POSITIVE_INFINITY;
    // The original counts to ten by itself; our own count is the one that is configured.
    this._unrecognizedCommands = 0;
    const next = () => {
      this.awaitCommand();
      callback?.();
    };
    if (this._ready && !this.guard.closing && malformed(command)) {
      this.send(501, "5.5.2 Command has characters that are not allowed");
      setImmediate(next);
    } else {
      super._onCommand(command, next);
    }
    if (!this.busy && !this._closing && bodyCommand.test(command.toString("latin1", 0, 16))) this.close();
  }

  /** The original knows one status for each reply code, and adds it; a text may bring its own here. */
  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    let status = context;
    let text = data;
    if (code === 500) {
      // It passes the client's own word as the context, and would look it up.
      status = undefined;
    } else if (typeof data === "string" && beginsWithStatus.test(data)) {
      status = false;
    } else if (code === 421 && context !== false) {
      text = `${statusOfClosing(String(data))} ${data}`;
      status = false;
    }
    if (code !== 220) this.gatherReplies();
    super.send(code, text, status);
    if (code < 500 || this._closing) return;
    if (++this.errors >= this.guard.limits.maxErrors) super.send(421, "4.7.0 Too many errors", false);
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

  /** RFC 5321 §4.1.1.11: a parameter that is not understood is refused. The original lets any pass. */
  override _rejectInvalidParams(parsed: SMTPServerAddress, valued: string[], callback: () => void): boolean {
    const { mail, rcpt } = this.guard.decisions.parameters;
    const known = valued.includes("ORCPT") ? rcpt : mail;
    if (parsed.args && Object.keys(parsed.args).some((name) => !known.has(name))) {
      this.send(refusals.unknownParameter.responseCode, refusals.unknownParameter.message);
      callback();
      return true;
    }
    return super._rejectInvalidParams(parsed, valued, callback);
  }

  /** The original keeps what a refused MAIL had set, for the next one. */
  override _applyMailParams(parsed: SMTPServerAddress): void {
    const { envelope } = this.session;
    envelope.bodyType = "7bit";
    envelope.smtpUtf8 = false;
    super._applyMailParams(parsed);
  }

  /** The original turns a domain's A-labels into U-labels: an address in ASCII would come out as one in UTF-8. */
  override _parseAddressCommand(name: string, command: Buffer | string) {
    const parsed = super._parseAddressCommand(name, command);
    if (parsed && !isAscii(parsed.address)) {
      const path = /<(?:@[^:>]*:)?([^>]*)>/.exec(command.toString());
      if (path?.[1]) parsed.address = path[1];
    }
    return parsed;
  }

  /** Not in smtp-server, which would answer 500 (RFC 5321 §3.5.3). */
  handler_EXPN(_command: Buffer, callback: () => void): void {
    this.send(502, "5.5.1 Command not implemented");
    callback();
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
      const body = new Body() as unknown as SMTPServerDataStream;
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

/**
 * A body on its way from the parser to whoever takes it. The original is a PassThrough, which holds two buffers for
 * every client; this one hands the octets on and holds nothing. To smtp-server it looks like the other, as far as
 * it looks: it asks whether the end was read, waits for "end", and destroys it when the client is gone.
 */
class Body extends Writable {
  reception: Reception | undefined;
  readable = true;
  readonly readableFlowing = true;

  constructor() {
    // One octet is enough for the parser to wait.
    super({ highWaterMark: 1, decodeStrings: false });
  }

  get readableEnded(): boolean {
    return !this.readable;
  }

  override _write(octets: Buffer, _encoding: string, next: () => void): void {
    if (this.reception) this.reception.take(octets, next);
    else next();
  }

  override _final(finished: () => void): void {
    // Not from within: the parser is still at the final dot, and an answer would set it going again.
    process.nextTick(() => {
      this.readable = false;
      finished();
      this.emit("end");
      this.reception?.end();
    });
  }

  override _destroy(error: Error | null, destroyed: (error: Error | null) => void): void {
    destroyed(error);
    if (this.readable) this.reception?.abandoned();
  }
}

/** Enhanced status of a 421 of smtp-server's own, by its text: the original gives them all that of a time-out. */
function statusOfClosing(text: string): string {
  if (text.startsWith("Timeout")) return "4.4.2";
  if (text.startsWith("Server shutting down")) return "4.3.2";
  if (text.includes("too long")) return "4.5.2";
  return "4.7.0";
}
