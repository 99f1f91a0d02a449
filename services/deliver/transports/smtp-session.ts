import type { Socket } from "node:net";
import { aborted, describe, SessionError } from "./session-error.ts";
import { connected, connectTo, encrypted, type SessionOptions } from "./session-socket.ts";
import { type Reply, ReplyReader, replyText } from "./smtp-reply.ts";

/** Milliseconds to wait: for a connection, a greeting, and (RFC 5321 §4.5.3.2) for the replies to commands. */
export const timeouts = {
  connect: 30_000,
  greeting: 60_000,
  command: 300_000,
  data: 120_000,
  dataBlock: 180_000,
  dataEnd: 600_000,
} as const;

interface Waiting {
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

/** One connection to a server, up to the point where MAIL may be sent. Replies come in the order of the commands. */
export class SmtpSession {
  /** Keywords of the EHLO reply in upper case, with their parameters. */
  extensions: ReadonlyMap<string, string> = new Map();
  /** Milliseconds since the epoch at which it was opened. */
  readonly openedAt = Date.now();
  /** Replies that were received. */
  replies = 0;
  /** Transactions that were begun. */
  transactions = 0;
  /** The last transaction was left before its end: RSET comes before the next. */
  dirty = false;
  /** Why it is over; undefined while it lives. */
  failure: SessionError | undefined;
  private socket: Socket;
  private reader = new ReplyReader();
  private waiting: Waiting[] = [];
  private resting = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.listen();
  }

  /**
   * Connects, greets, encrypts and authenticates.
   * @throws SessionError whatever goes wrong: that a server does not want to talk is no verdict on a message
   */
  static async open(options: SessionOptions, signal: AbortSignal): Promise<SmtpSession> {
    if (options.tls !== "opportunistic") return SmtpSession.start(options, signal);
    try {
      return await SmtpSession.start(options, signal);
    } catch (error) {
      // Encrypted if possible means: in clear if not. But a password never goes in clear unless told so.
      if (!(error instanceof SessionError && error.code === "TLS") || options.credentials) throw error;
      return SmtpSession.start({ ...options, tls: "off" }, signal);
    }
  }

  private static async start(options: SessionOptions, signal: AbortSignal): Promise<SmtpSession> {
    if (signal.aborted) throw aborted();
    const session = new SmtpSession(connectTo(options));
    const release = session.bindTo(signal);
    try {
      await session.greet(options);
      return session;
    } catch (error) {
      session.destroy();
      throw error;
    } finally {
      release();
    }
  }

  /** Lets the signal end the session, until the function it returns is called. */
  bindTo(signal: AbortSignal): () => void {
    const abort = () => this.fail(aborted());
    signal.addEventListener("abort", abort);
    return () => signal.removeEventListener("abort", abort);
  }

  /** Writes; resolves when the socket can take more. */
  async write(octets: Buffer | string): Promise<void> {
    if (this.failure) throw this.failure;
    if (this.socket.write(octets)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.socket.off("drain", done).off("close", done);
        resolve();
      };
      this.socket.on("drain", done).on("close", done);
    });
    if (this.failure) throw this.failure;
  }

  /** The reply to the next command that has none yet. @throws SessionError when it will not come */
  reply(): Promise<Reply> {
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  /** Sends one command and waits for its reply. */
  command(line: string): Promise<Reply> {
    const reply = this.reply();
    this.write(`${line}\r\n`).catch(() => {});
    return reply;
  }

  /** Milliseconds without a sign of life after which the session fails. */
  patience(milliseconds: number): void {
    if (this.socket.timeout !== milliseconds) this.socket.setTimeout(milliseconds);
  }

  /** Nothing to do for now: when nothing comes for this long, the session ends in order. */
  rest(milliseconds: number): void {
    this.resting = true;
    this.patience(milliseconds);
  }

  /** There is work again. */
  wake(): void {
    this.resting = false;
    this.patience(timeouts.command);
  }

  /** Ends the session; whoever waits for a reply gets the error. */
  fail(error: SessionError): void {
    if (this.failure) return;
    this.failure = error;
    this.socket.destroy();
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }

  destroy(): void {
    this.fail(new SessionError("the connection was closed by us", "CLOSED"));
  }

  /** Says goodbye, without waiting for an answer. */
  quit(): void {
    if (this.failure) return;
    this.socket.end("QUIT\r\n");
    this.failure = new SessionError("the connection was closed by us", "CLOSED");
    this.socket.setTimeout(2_000, () => this.socket.destroy());
    this.socket.resume();
  }

  private listen(): void {
    this.socket.setNoDelay(true);
    this.socket.on("data", this.onData);
    this.socket.on("error", this.onError);
    this.socket.on("close", this.onClose);
    this.socket.on("timeout", this.onTimeout);
  }

  private readonly onData = (chunk: Buffer): void => {
    if (this.failure) return;
    try {
      for (const reply of this.reader.push(chunk)) {
        this.replies++;
        const waiting = this.waiting.shift();
        if (waiting) waiting.resolve(reply);
        // 421 may come at any time, and then the server hangs up (RFC 5321 §3.8). Nothing else comes unasked.
        if (reply.code === 421)
          this.fail(new SessionError(`the server closed the connection: ${replyText(reply)}`, "421"));
        else if (!waiting)
          this.fail(new SessionError(`the server spoke unasked: ${replyText(reply)}`, "PROTOCOL"));
      }
    } catch (error) {
      this.fail(new SessionError((error as Error).message, "PROTOCOL", error));
    }
  };
  private readonly onError = (error: Error & { code?: string }): void => {
    this.fail(new SessionError(describe(error), error.code ?? "CLOSED", error));
  };
  private readonly onClose = (): void => {
    this.fail(new SessionError("the server closed the connection", "CLOSED"));
  };
  private readonly onTimeout = (): void => {
    if (this.resting) this.quit();
    else this.fail(new SessionError("the server did not answer in time", "TIMEOUT"));
  };

  private async greet(options: SessionOptions): Promise<void> {
    const greeting = this.reply();
    greeting.catch(() => {});
    this.patience(timeouts.connect);
    await connected(this.socket, options.tls === "implicit" ? "secureConnect" : "connect", this);
    this.patience(timeouts.greeting);
    this.expect(await greeting, 220, "greeting");
    this.patience(timeouts.command);
    await this.hello(options);
    if (options.tls === "opportunistic" || options.tls === "required") await this.startTls(options);
    if (options.credentials) await this.authenticate(options, options.credentials);
  }

  private async hello({ protocol, hostname }: SessionOptions): Promise<void> {
    const verb = protocol === "lmtp" ? "LHLO" : "EHLO";
    let reply = await this.command(`${verb} ${hostname}`);
    if (reply.code >= 500 && protocol === "smtp") reply = await this.command(`HELO ${hostname}`);
    this.expect(reply, 250, verb);
    this.extensions = new Map(
      reply.lines.slice(1).map((line) => {
        const [keyword = "", ...parameters] = line.trim().split(/[ =]+/);
        return [keyword.toUpperCase(), parameters.join(" ")];
      }),
    );
  }

  private async startTls(options: SessionOptions): Promise<void> {
    if (!this.extensions.has("STARTTLS")) {
      if (options.tls === "opportunistic") return;
      throw new SessionError("the server offers no STARTTLS, and TLS is required", "TLS");
    }
    const reply = await this.command("STARTTLS");
    if (reply.code !== 220) throw new SessionError(`STARTTLS was refused: ${replyText(reply)}`, "TLS");
    if (this.failure) throw this.failure;
    // What came in clear behind this reply could be anybody's; it must not pass for the server's (RFC 3207 §6).
    if (this.reader.pending) throw new SessionError("the server talked on before TLS began", "PROTOCOL");
    const plain = this.socket;
    plain.off("data", this.onData).off("error", this.onError);
    plain.off("close", this.onClose).off("timeout", this.onTimeout);
    plain.setTimeout(0);
    this.socket = encrypted(plain, options);
    this.reader = new ReplyReader();
    this.listen();
    this.patience(timeouts.greeting);
    await connected(this.socket, "secureConnect", this);
    this.patience(timeouts.command);
    await this.hello(options);
  }

  private async authenticate(
    options: SessionOptions,
    { user, password }: { user: string; password: string },
  ): Promise<void> {
    if (!("encrypted" in this.socket) && options.tls !== "off")
      throw new SessionError(
        "the server offers no TLS, so the password was not sent: set tls: off to send it in clear",
        "TLS",
      );
    const mechanisms = (this.extensions.get("AUTH") ?? "").toUpperCase().split(" ");
    const base64 = (text: string) => Buffer.from(text, "utf8").toString("base64");
    let reply: Reply;
    if (mechanisms.includes("PLAIN"))
      reply = await this.command(`AUTH PLAIN ${base64(`\0${user}\0${password}`)}`);
    else if (mechanisms.includes("LOGIN")) {
      reply = await this.command("AUTH LOGIN");
      if (reply.code === 334) reply = await this.command(base64(user));
      if (reply.code === 334) reply = await this.command(base64(password));
    } else throw new SessionError("the server offers neither AUTH PLAIN nor AUTH LOGIN", "AUTH");
    if (reply.code !== 235)
      throw new SessionError(`the server refused user ${user}: ${replyText(reply)}`, "AUTH");
  }

  private expect(reply: Reply, code: number, what: string): void {
    if (reply.code === code) return;
    throw new SessionError(`${what}: ${replyText(reply)}`, String(reply.code));
  }
}
