import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type SecureVersion, type TLSSocket } from "node:tls";
import type { Endpoint } from "./endpoint.ts";
import { speakingOnly, trusting } from "./tls-client.ts";

/** One reply: its code, and the text of each of its lines. */
export interface Reply {
  code: number;
  lines: string[];
}

/** How a session failed. `nonsense`: what came is no SMTP. */
export type Trouble = "refused" | "unreachable" | "silent" | "closed" | "handshake" | "nonsense";

export class SessionError extends Error {
  override name = "SessionError";
  readonly trouble: Trouble;
  /** Whether it was on the way to a handshake, and not to a reply. */
  inHandshake = false;
  /** Whether the server had greeted before. */
  greeted = false;

  constructor(trouble: Trouble, message: string) {
    super(message);
    this.trouble = trouble;
  }
}

/** Octets of one reply. No server has that much to say. */
const longestReply = 65_536;

const wholeReply = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n/;

/**
 * A client that takes one step of SMTP at a time, each within the endpoint's time-out, whatever the server does.
 * Certificates are looked at and never obeyed: it says no password and sends no mail.
 */
export class SmtpSession {
  private socket: Socket | TLSSocket;
  private input = "";
  private ended: string | undefined;
  private wake: () => void = () => {};
  private readonly endpoint: Endpoint;

  private constructor(endpoint: Endpoint, socket: Socket) {
    this.endpoint = endpoint;
    this.socket = socket;
    this.listen();
  }

  /** Connects, and sends the PROXY header where there is one. @throws SessionError */
  static async connect(endpoint: Endpoint): Promise<SmtpSession> {
    const { address, port, source, proxyHeader } = endpoint;
    const socket = connectTcp({
      host: address,
      port,
      noDelay: true,
      ...(source !== undefined && { localAddress: source }),
    });
    const session = new SmtpSession(endpoint, socket);
    await session.until("connect", (error) => {
      const { code, message } = error as NodeJS.ErrnoException;
      const trouble = code === "ECONNREFUSED" ? "refused" : "unreachable";
      return new SessionError(trouble, code === "ECONNREFUSED" ? "connection refused" : message);
    });
    if (proxyHeader) session.write(proxyHeader);
    return session;
  }

  /** Address of ours, as this connection has it. */
  get localAddress(): string {
    return (this.socket.localAddress ?? "").replace(/^::ffff:(?=\d+\.)/i, "");
  }

  write(octets: string | Buffer): void {
    if (!this.socket.destroyed) this.socket.write(octets);
  }

  /** Sends a line and reads the reply to it. @throws SessionError */
  command(line: string): Promise<Reply> {
    this.write(`${line}\r\n`);
    return this.reply();
  }

  /** @throws SessionError when none comes in time, or the connection ends before it */
  async reply(within = this.endpoint.timeout): Promise<Reply> {
    const deadline = performance.now() + within;
    for (;;) {
      const text = wholeReply.exec(this.input)?.[0];
      if (text !== undefined) {
        this.input = this.input.slice(text.length);
        const lines = text.trimEnd().split(/\r?\n/);
        return { code: Number(text.slice(0, 3)), lines: lines.map((line) => line.slice(4)) };
      }
      const begun = this.input.trim();
      if (this.input.length > longestReply || (begun && !/^\d/.test(begun)))
        throw new SessionError("nonsense", `what came is no SMTP: ${JSON.stringify(begun.slice(0, 60))}`);
      if (this.ended !== undefined) throw new SessionError("closed", this.ended);
      const left = deadline - performance.now();
      if (left <= 0) throw new SessionError("silent", `nothing came within ${within / 1_000} s`);
      await this.news(left);
    }
  }

  /**
   * The handshake, at once or after the 220 to STARTTLS.
   * @param version the only one to offer; any without it, however old: it is to be seen
   * @throws SessionError
   */
  async secure(version?: SecureVersion): Promise<TLSSocket> {
    const plain = this.socket;
    plain.removeAllListeners().on("error", () => {});
    this.input = "";
    const { serverName, authorities } = this.endpoint;
    const socket = connectTls({
      socket: plain,
      secureContext: version ? speakingOnly(version) : trusting(authorities),
      rejectUnauthorized: false,
      // Names are a check of their own.
      checkServerIdentity: () => undefined,
      ...(serverName !== undefined && !isIP(serverName) && { servername: serverName }),
    });
    this.socket = socket;
    this.listen();
    await this.until("secureConnect", (error) => new SessionError("handshake", plainWords(error)));
    return socket;
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Takes leave as a client should, without waiting for the answer. */
  quit(): void {
    if (!this.socket.destroyed) this.socket.end("QUIT\r\n");
    const { socket } = this;
    setTimeout(() => socket.destroy(), 250).unref();
  }

  private listen(): void {
    const { socket } = this;
    socket.on("data", (chunk: Buffer) => {
      this.input += chunk.toString("utf8");
      this.wake();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.ended ??= error.code === "ECONNRESET" ? "the connection was reset" : plainWords(error);
      this.wake();
    });
    socket.on("close", () => {
      this.ended ??= "the connection was closed";
      this.wake();
    });
  }

  private news(within: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, within);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Waits for an event of the socket, or what ends it first. */
  private until(event: string, failed: (error: Error) => SessionError): Promise<void> {
    const { socket } = this;
    const { timeout } = this.endpoint;
    return new Promise((resolve, reject) => {
      const settle = (error?: SessionError) => {
        clearTimeout(timer);
        socket.off(event, done).off("error", broken).off("close", closed);
        if (!error) return resolve();
        error.inHandshake = event === "secureConnect";
        socket.destroy();
        reject(error);
      };
      const done = () => settle();
      const broken = (error: Error) => settle(failed(error));
      const closed = () => settle(new SessionError("closed", "the connection was closed"));
      const late = () => settle(new SessionError("silent", `nothing came within ${timeout / 1_000} s`));
      const timer = setTimeout(late, timeout);
      socket.once(event, done).once("error", broken).once("close", closed);
    });
  }
}

/** OpenSSL's errors have a number, a library and a function around the reason. */
function plainWords(error: Error): string {
  const { reason } = error as Error & { reason?: string };
  return reason ?? error.message;
}
