import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Mail } from "./message.ts";

/** What became of a mail, as far as its sender can know. */
export type Fate =
  /** 250: from here on it must not be lost. */
  | { state: "acknowledged"; id: string }
  /** Another reply: it may be there all the same (the commit was overdue), once. */
  | { state: "refused"; reply: string }
  /** The final dot was sent, and no reply came: it may be there, once. */
  | { state: "unknown" }
  /** The connection ended before the final dot: it must not be there. */
  | { state: "incomplete" }
  /** Nothing came for as long as `patience`: the edge hangs. */
  | { state: "unanswered" };

/** Where a sender hangs up: after so many octets of DATA, or so many milliseconds after the final dot. */
export type Leaving = { afterOctets: number } | { afterDot: number };

/** Milliseconds any reply may take. An edge answers within 15 s; the rest is for a machine that has a lot to do. */
const patience = 60_000;

/** One SMTP connection that says what came of each mail. */
export class SmtpClient {
  private readonly socket: Socket;
  private input = "";
  private ended = false;
  private wake = () => {};

  private constructor(socket: Socket, wire: { readonly cut: boolean }) {
    this.socket = socket;
    const end = () => {
      this.ended = true;
      this.wake();
    };
    socket.on("data", (data: Buffer) => {
      if (wire.cut) return;
      this.input += data.toString("latin1");
      this.wake();
    });
    socket.on("error", () => {});
    socket.on("end", end).on("close", end);
  }

  /**
   * Connects and greets; undefined when nobody listens, or will not talk.
   *
   * @param wire while it is cut, nothing that comes is heard
   */
  static async open(port: number, wire: { readonly cut: boolean }): Promise<SmtpClient | undefined> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const client = new SmtpClient(socket, wire);
    await Promise.race([once(socket, "connect"), once(socket, "close")]).catch(() => {});
    if (
      (await client.reply())?.startsWith("220") &&
      (await client.ask("EHLO sender.test"))?.startsWith("250")
    )
      return client;
    client.close();
    return undefined;
  }

  /** Whether another mail can be sent over it. */
  get usable(): boolean {
    return !this.ended;
  }

  async send(mail: Mail, leaving?: Leaving): Promise<Fate> {
    const commands = ["MAIL FROM:<sender@example.test>", ...mail.to.map((to) => `RCPT TO:<${to}>`), "DATA"];
    for (const command of commands) {
      const reply = await this.ask(command);
      if (reply === undefined) return this.silence("incomplete");
      if (!/^[23]/.test(reply)) {
        // RSET is not worth its round trip in a test: a refused transaction ends the connection.
        this.close();
        return { state: "refused", reply };
      }
    }
    const octets = dotStuffed(mail.raw);
    if (leaving && "afterOctets" in leaving) {
      // Without the last octet of CRLF.CRLF the message has not come to its end.
      const before = Math.min(leaving.afterOctets, octets.length - 1);
      await this.write(octets.subarray(0, before));
      this.socket.destroy();
      return { state: "incomplete" };
    }
    const written = this.write(octets);
    if (leaving) {
      await written;
      setTimeout(() => this.socket.resetAndDestroy(), leaving.afterDot);
    }
    const reply = await this.reply();
    if (reply === undefined) return this.silence("unknown");
    const id = /^250 .*queued as ([0-9a-z]{26})\s*$/.exec(reply)?.[1];
    return id ? { state: "acknowledged", id } : { state: "refused", reply };
  }

  close(): void {
    this.ended = true;
    this.socket.destroy();
  }

  private silence(state: "unknown" | "incomplete"): Fate {
    const hangs = !this.ended;
    this.close();
    return { state: hangs ? "unanswered" : state };
  }

  private ask(command: string): Promise<string | undefined> {
    this.socket.write(`${command}\r\n`);
    return this.reply();
  }

  private write(octets: Buffer): Promise<void> {
    // Its callback comes in any case, with an error when the connection is over.
    return new Promise((resolve) => void this.socket.write(octets, () => resolve()));
  }

  /** The next reply's last line; undefined when the connection is over, or nothing came within {@link patience}. */
  private async reply(): Promise<string | undefined> {
    const deadline = Date.now() + patience;
    for (;;) {
      const complete = /^(?:\d{3}-[^\n]*\n)*(\d{3}(?: [^\n]*)?)\n/.exec(this.input);
      if (complete) {
        this.input = this.input.slice(complete[0].length);
        return (complete[1] as string).trimEnd();
      }
      const left = deadline - Date.now();
      if (this.ended || left <= 0) return undefined;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** The message as DATA carries it (RFC 5321 §4.5.2), with its end. */
function dotStuffed(raw: Buffer): Buffer {
  const text = raw.toString("latin1").replace(/^\./, "..").replaceAll("\r\n.", "\r\n..");
  return Buffer.from(`${text}.\r\n`, "latin1");
}
