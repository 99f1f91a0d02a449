import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** One connection that sends one message after another, and notes when each had its 250. */
export class Sender {
  private readonly socket: Socket;
  private replies = "";
  private waiting: PromiseWithResolvers<string> | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding("latin1").on("data", (data: string) => {
      this.replies += data;
      this.take();
    });
    for (const event of ["error", "close"] as const)
      socket.on(event, () => this.waiting?.reject(new Error("the server closed the connection")));
  }

  static async connect(port: number): Promise<Sender> {
    const socket = connect(port, "127.0.0.1");
    const sender = new Sender(socket);
    await once(socket, "connect");
    await sender.expect("220");
    await sender.command("EHLO bench.example", "250");
    return sender;
  }

  /** Sends a message that ends in a line with a dot. Resolves with the time of its 250, by performance.now(). */
  async send(message: string): Promise<number> {
    await this.command("MAIL FROM:<a@x.example>", "250");
    await this.command("RCPT TO:<b@x.example>", "250");
    await this.command("DATA", "354");
    await this.command(message, "250");
    return performance.now();
  }

  close(): void {
    this.socket.end("QUIT\r\n");
  }

  private async command(line: string, wanted: string): Promise<void> {
    this.socket.write(`${line}\r\n`);
    await this.expect(wanted);
  }

  private async expect(wanted: string): Promise<void> {
    this.waiting = Promise.withResolvers();
    this.take();
    const reply = await this.waiting.promise;
    if (!reply.startsWith(wanted)) throw new Error(`wanted ${wanted}, and the server said ${reply}`);
  }

  /** Hands over a whole reply; its last line has a space after the code (RFC 5321 §4.2.1). */
  private take(): void {
    const whole = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\n/.exec(this.replies)?.[0];
    if (!whole || !this.waiting) return;
    this.replies = this.replies.slice(whole.length);
    this.waiting.resolve(whole.trimEnd());
    this.waiting = undefined;
  }
}
