import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";

/** SMTP sessions within TLS from the first octet on, which a test holds open. */
export class HeldSessions {
  readonly all: TLSSocket[] = [];

  /** Begins one, and keeps it once the edge has greeted it. @param ca must have issued the certificate, if given */
  async open(
    port: number,
    { servername = "mx.example.test", ca }: { servername?: string; ca?: string } = {},
  ) {
    const verified = ca === undefined ? { rejectUnauthorized: false } : { ca };
    const socket = connect({ port, host: "127.0.0.1", servername, ...verified });
    socket.on("error", () => undefined);
    try {
      assert.match(await said(socket), /^220 /);
    } catch (error) {
      socket.destroy();
      throw error;
    }
    this.all.push(socket);
    return socket;
  }

  async openMany(count: number, port: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.open(port);
  }

  /** Wants an answer in each of them. */
  async wantAlive(): Promise<void> {
    for (const socket of this.all) {
      socket.write("NOOP\r\n");
      assert.match(await said(socket), /^250 /);
    }
  }

  end(): void {
    for (const socket of this.all.splice(0)) socket.destroy();
  }
}

/** What comes next; empty when the session is over. */
export async function said(socket: TLSSocket): Promise<string> {
  const ended = new AbortController();
  const end = () => ended.abort();
  socket.once("close", end);
  try {
    const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(30_000)]);
    return String((await once(socket, "data", { signal }))[0]);
  } catch (error) {
    if (ended.signal.aborted) return "";
    throw error;
  } finally {
    socket.off("close", end);
  }
}
