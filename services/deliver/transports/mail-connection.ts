import type { NetConnectOpts } from "node:net";
import type { Readable } from "node:stream";
import SMTPConnection, { type Envelope, type SMTPError } from "nodemailer/lib/smtp-connection";

// Everything that knows nodemailer from the inside is in this file, and was read in version 10.6.0, which
// package.json pins. Each override says what the original would do.

/** What was said in one transaction. */
export interface Transaction {
  /** The replies that are about one recipient only: refusals at RCPT, and with LMTP those to the message. */
  replies: ReadonlyMap<string, RecipientReply>;
  /** The last word for everybody else: the reply to the message, or why there is none. */
  end: string | SMTPError;
  /** The server had asked for the message. Before that, all may begin again over another connection. */
  entered: boolean;
}

export interface RecipientReply {
  reply: string;
  to: "RCPT" | "message";
}

/** The envelope of a transaction. `smtputf8`: the message needs it, though the addresses may not. */
export type MailEnvelope = Pick<Envelope, "size" | "use8BitMime"> & {
  from: string;
  to: string[];
  smtputf8: boolean;
};

/** Milliseconds a server has to answer QUIT. */
const goodbyeTime = 2_000;

type Done = (error: SMTPError | null, result?: string) => void;

/** What nodemailer's types leave out. */
interface Inside {
  _supportedExtensions: string[];
  _envelope: { mailError?: Error; smtputf8?: boolean; from: string; to: string[] };
  _recipientQueue: string[];
  /** The message under way; false before its first and after its last octet. */
  _currentDataStream: unknown;
  _connectToHost(options: NetConnectOpts, secure: boolean): void;
  _sendCommand(line: string, loggedAs?: string): void;
  _onError(error: Error, code: string, reply: string | false, command: string): void;
  _actionRCPT(reply: string, done: Done): void;
  _actionDATA(reply: string, done: Done): void;
  _actionSMTPStream(reply: string, done: Done): void;
  _actionLMTPStream(recipient: string, final: boolean, reply: string, done: Done): void;
}
const Base = SMTPConnection as unknown as new (options: SMTPConnection.Options) => SMTPConnection & Inside;

/** nodemailer's connection with promises, replies for each recipient, unix sockets, and no trust in odd replies. */
export class MailConnection extends Base {
  readonly openedAt = Date.now();
  /** Why it is over; undefined while it lives. */
  failure: SMTPError | undefined;
  /** There was a transaction over it before. */
  used = false;
  /** The last transaction was left before its end. */
  private dirty = false;
  private replies = new Map<string, RecipientReply>();
  private entered = false;
  private readonly path: string | undefined;

  /** @param path of a unix socket, instead of the host and port of the options */
  constructor(options: SMTPConnection.Options, path?: string) {
    // Whoever closes this connection has done with it: no waiting for the server to close its side.
    super({ ...options, socketCloseTimeout: 0 });
    this.path = path;
    this.on("error", (error: SMTPError) => {
      this.failure ??= this.isInHandshake(error) ? asTlsError(error) : error;
    });
    this.on("end", () => {
      this.failure ??= failure("the connection was closed", "ECONNECTION");
    });
  }

  /** Connects, greets and, as the options say, encrypts. @throws SMTPError */
  open(): Promise<void> {
    return this.call((done) => this.connect(done));
  }

  /** @throws SMTPError */
  async authenticate({ user, password }: { user: string; password: string }): Promise<void> {
    await this.call((done) => this.login({ user, pass: password }, done));
  }

  /** Sends a message. A stream is always used up or destroyed. Does not throw: what went wrong is the `end`. */
  async transact(envelope: MailEnvelope, message: Buffer | Readable): Promise<Transaction> {
    this.used = true;
    this.entered = false;
    this.replies = new Map();
    let end: string | SMTPError;
    try {
      end = (await this.call<{ response: string }>((done) => this.send(envelope, message, done))).response;
    } catch (error) {
      end = error as SMTPError;
      this.dirty = true;
      if (end.code !== "EENVELOPE" && end.code !== "EMESSAGE") this.close();
    }
    // An answer in the middle of a message: there is no way back from here but the end.
    if (this._currentDataStream) this.close();
    if (!Buffer.isBuffer(message)) message.on("error", () => {}).destroy();
    return { replies: this.replies, end, entered: this.entered };
  }

  /** Makes ready for the next transaction: servers insist on RSET after one that was left. */
  async restore(): Promise<boolean> {
    if (this.dirty && !this.failure) {
      await this.call((done) => this.reset(done)).catch(() => this.close());
      this.dirty = false;
    }
    return !this.failure;
  }

  supports(extension: string): boolean {
    return this._supportedExtensions.includes(extension);
  }

  /** Lets the signal break the connection off, until the function it returns is called. */
  bindTo(signal: AbortSignal): () => void {
    const abort = () => {
      this.failure ??= failure(
        "the attempt was broken off: its time was over, or the process stops",
        "ABORTED",
      );
      this.close();
    };
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    return () => signal.removeEventListener("abort", abort);
  }

  /** The original waits for the answer as long as for any other. */
  override quit(): void {
    super.quit();
    setTimeout(() => this.close(), goodbyeTime).unref();
  }

  /** The original knows hosts only; of a path and a host net.connect() takes the path. */
  override _connectToHost(options: NetConnectOpts, secure: boolean): void {
    super._connectToHost(this.path ? { ...options, path: this.path } : options, secure);
  }

  /** The original declares SMTPUTF8 for addresses only, not for a message that came with it (RFC 6531 §3.4). */
  override _sendCommand(line: string, loggedAs?: string): void {
    const { smtputf8, from, to } = this._envelope;
    const missing =
      smtputf8 &&
      line.startsWith("MAIL FROM:") &&
      this.supports("SMTPUTF8") &&
      isAsciiText(from + to.join(""));
    super._sendCommand(missing ? `${line} SMTPUTF8` : line, loggedAs);
  }

  /** The original tells of refused recipients only if it ends well. */
  override _actionRCPT(reply: string, done: Done): void {
    // Behind a refused MAIL a recipient's refusal says nothing about the recipient.
    if (!reply.startsWith("2") && !this._envelope.mailError)
      this.replies.set(this._recipientQueue[0] as string, { reply, to: "RCPT" });
    super._actionRCPT(reply, done);
  }

  /** The original sends the message after any 2xx or 3xx: who does not expect it would read it as commands. */
  override _actionDATA(reply: string, done: Done): void {
    this.entered = reply.startsWith("354");
    if (this.entered || /^[45]/.test(reply)) super._actionDATA(reply, done);
    else this.outOfStep(reply);
  }

  /** The original takes a thank-you for half a message. */
  override _actionSMTPStream(reply: string, done: Done): void {
    if (this._currentDataStream && reply.startsWith("2")) this.outOfStep(reply);
    else super._actionSMTPStream(reply, done);
  }

  /** The original keeps the last reply only, though each recipient has one (RFC 2033 §4.2); and so for thanks. */
  override _actionLMTPStream(recipient: string, final: boolean, reply: string, done: Done): void {
    if (this._currentDataStream && reply.startsWith("2")) this.outOfStep(reply);
    else {
      this.replies.set(recipient, { reply, to: "message" });
      super._actionLMTPStream(recipient, final, reply, done);
    }
  }

  /** Nobody knows any more which reply is whose. */
  private outOfStep(reply: string): void {
    this._onError(new Error("the server answers out of step"), "EPROTOCOL", reply, "DATA");
  }

  /** One of nodemailer's calls. Where the connection ends it calls back now and then; here it always ends. */
  private call<T>(start: (done: (error?: SMTPError | null, result?: T) => void) => void): Promise<T> {
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      // Where it does call back, it does so right after.
      const ended = () => queueMicrotask(() => reject(this.failure));
      this.once("end", ended);
      start((error, result) => {
        this.off("end", ended);
        if (error) reject(error);
        else resolve(result as T);
      });
    });
  }

  /** Certificates, protocol versions and hang-ups during the handshake come as errors of the socket. */
  private isInHandshake(error: SMTPError): boolean {
    if (error.code !== "ESOCKET" || error.syscall === "connect" || error instanceof AggregateError)
      return false;
    return this.upgrading === true || (this.secureConnection && this.stage === "init");
  }
}

/** An error like nodemailer's own. */
export function failure(message: string, code: string, cause?: unknown): SMTPError {
  return Object.assign(new Error(message, { cause }), { code });
}

function asTlsError(error: SMTPError): SMTPError {
  return failure(`TLS could not be set up: ${error.message}`, "ETLS", error);
}

export function isAsciiText(text: string): boolean {
  return /^\p{ASCII}*$/u.test(text);
}
