import { EventEmitter, once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** What to answer: a reply, or a reply and then the end of the connection. Undefined: what any server would. */
export type Answer = string | { reply: string; thenClose: true } | undefined;

export interface ScriptedServer {
  port: number;
  /** What every connection said, line by line; messages without their dots. */
  lines: string[];
  messages: Buffer[];
  /** Connections that were made. */
  connections(): number;
  /** Resolves when a client has said the line. */
  said(line: string): Promise<void>;
  /** Hangs up on everybody. */
  hangUp(): void;
  close(): Promise<void>;
}

/**
 * An SMTP or LMTP server that answers as a test says, for what no proper server would do. `answer` is asked for each
 * line, for the greeting with "", and for the end of each message with ".".
 */
export async function startScriptedServer(
  answer: (line: string) => Answer = () => undefined,
  extensions = ["PIPELINING"],
): Promise<ScriptedServer> {
  const sockets = new Set<Socket>();
  const lines: string[] = [];
  const messages: Buffer[] = [];
  let connections = 0;
  const heard = new EventEmitter();

  const server = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    let input: Buffer = Buffer.alloc(0);
    let inMessage = false;
    const say = (line: string) => {
      const said = answer(line) ?? ordinary(line, extensions);
      const reply = typeof said === "string" ? said : said.reply;
      if (reply) socket.write(`${reply}\r\n`);
      if (reply.startsWith("354")) inMessage = true;
      if (typeof said !== "string") socket.end();
    };
    say("");
    socket.on("data", (chunk: Buffer) => {
      input = Buffer.concat([input, chunk]);
      for (;;) {
        const separator = inMessage ? "\r\n.\r\n" : "\r\n";
        const end =
          inMessage && input.subarray(0, 3).equals(Buffer.from(".\r\n")) ? -2 : input.indexOf(separator);
        if (end === -1) return;
        const piece = input.subarray(0, Math.max(end, 0));
        input = input.subarray(end + separator.length);
        if (inMessage) {
          inMessage = false;
          messages.push(Buffer.concat([piece, Buffer.from(end === -2 ? "" : "\r\n")]));
          say(".");
        } else {
          lines.push(piece.toString());
          heard.emit(piece.toString());
          say(piece.toString());
        }
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const hangUp = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    lines,
    messages,
    connections: () => connections,
    async said(line) {
      if (!lines.includes(line)) await once(heard, line);
    },
    hangUp,
    async close() {
      hangUp();
      server.close();
      await once(server, "close");
    },
  };
}

function ordinary(line: string, extensions: string[]): string {
  if (line === "") return "220 scripted.example";
  if (/^(EHLO|LHLO) /.test(line))
    return ["scripted.example", ...extensions]
      .map((each, at, all) => `250${at < all.length - 1 ? "-" : " "}${each}`)
      .join("\r\n");
  if (line === "STARTTLS") return "502 5.5.1 not here";
  if (line === "DATA") return "354 go on";
  if (line === "QUIT") return "221 bye";
  return "250 2.0.0 ok";
}
