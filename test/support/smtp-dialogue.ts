import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

/** Milliseconds a reply may take unless a test says otherwise. Generous: it only ever ends a failing test. */
const patience = 15_000;

/**
 * An SMTP client that says exactly what a test tells it to, so that a test reads as the dialogue it is about:
 * `await client.send("RCPT TO:<a@b>"); await client.expect("250 2.1.5 ");`
 */
export class SmtpDialogue {
  private socket: Socket | TLSSocket;
  private input = "";
  private closed = false;
  private wake: () => void = () => {};
  private readonly transcript: string[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    this.listen();
  }

  /** Connects, and waits for nothing: the greeting is the first thing to expect. */
  static async connect(port: number, host = "127.0.0.1"): Promise<SmtpDialogue> {
    const socket = connectTcp({ port, host, noDelay: true });
    const dialogue = new SmtpDialogue(socket);
    await once(socket, "connect");
    return dialogue;
  }

  /** Connects and says EHLO. */
  static async greeted(port: number, name = "client.example"): Promise<SmtpDialogue> {
    const dialogue = await SmtpDialogue.connect(port);
    await dialogue.expect("220 ");
    await dialogue.send(`EHLO ${name}`);
    await dialogue.expect("250");
    return dialogue;
  }

  /** Sends lines, each with its CRLF, in one write. */
  async send(...lines: string[]): Promise<void> {
    await this.write(lines.map((line) => `${line}\r\n`).join(""));
  }

  /** Sends octets as they are; resolves when the system has taken them, or with false when the connection is over. */
  async write(octets: string | Uint8Array): Promise<boolean> {
    this.note("C", typeof octets === "string" ? octets : `<${octets.length} octets>`);
    if (this.closed) return false;
    return await new Promise<boolean>((resolve) => {
      const lost = () => resolve(false);
      this.socket.once("close", lost);
      this.socket.write(octets, (error) => {
        this.socket.off("close", lost);
        resolve(!error);
      });
    });
  }

  /** Takes the next reply, all its lines joined by "\n", and holds it against the text it must begin with. */
  async expect(start: string, within = patience): Promise<string> {
    const reply = await this.reply(within, start);
    if (!reply.startsWith(start)) {
      assert.fail(`expected "${start}", read "${reply}"\n${this.transcript.join("\n")}`);
    }
    return reply;
  }

  /** Waits until the server has closed the connection; whatever it still said is returned. */
  async expectClosed(within = patience): Promise<string> {
    await this.until(() => this.closed, within, "the end of the connection");
    return this.input;
  }

  /** Says nothing more, and hears nothing more. */
  destroy(): void {
    this.socket.destroy();
  }

  get isClosed(): boolean {
    return this.closed;
  }

  /** Stops reading, as a client does that hangs. */
  pause(): void {
    this.socket.pause();
  }

  /** Goes over to TLS, after the 220 to STARTTLS. */
  async secure(): Promise<TLSSocket> {
    this.socket.removeAllListeners();
    const socket = connectTls({ socket: this.socket, rejectUnauthorized: false });
    this.socket = socket;
    this.listen();
    await once(socket, "secureConnect");
    return socket;
  }

  private listen(): void {
    const { socket } = this;
    socket.on("data", (chunk: Buffer) => {
      this.input += chunk.toString("utf8");
      this.wake();
    });
    // A reset is one of the ways a server may end a connection; "close" follows it.
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
      this.wake();
    });
  }

  private async reply(within: number, wanted: string): Promise<string> {
    const complete = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\n/;
    await this.until(() => complete.test(this.input) || this.closed, within, `"${wanted}"`);
    const match = complete.exec(this.input)?.[0];
    if (match === undefined) {
      assert.fail(`expected "${wanted}", the connection was closed\n${this.transcript.join("\n")}`);
    }
    this.input = this.input.slice(match.length);
    const reply = match.replaceAll("\r\n", "\n").trimEnd();
    this.note("S", reply);
    return reply;
  }

  private async until(condition: () => boolean, within: number, wanted: string): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.wake = () => {};
        reject(
          new assert.AssertionError({
            message: `no ${wanted} within ${within} ms; unread: ${JSON.stringify(this.input)}\n${this.transcript.join("\n")}`,
          }),
        );
      }, within);
      this.wake = () => {
        if (!condition()) return;
        clearTimeout(timer);
        this.wake = () => {};
        resolve();
      };
    });
  }

  private note(who: "C" | "S", text: string): void {
    const line = JSON.stringify(text);
    this.transcript.push(`${who}: ${line.length > 200 ? `${line.slice(0, 200)}…` : line}`);
  }
}
