import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { TemporaryFailure } from "@millrace/pipeline";

/** What clamd says of a message. */
export type VirusVerdict =
  | { result: "clean" }
  /** `name` of the signature: `Eicar-Signature`. */
  | { result: "infected"; name: string }
  /** It would not look at it: too large, or the like. */
  | { result: "unscanned"; reason: string };

/** Milliseconds without a word from clamd, while it has nothing more to wait for. */
const silence = 120_000;

/**
 * Has clamd look at a message as it streams by (clamd(8), INSTREAM: chunks with their length in four octets before
 * each, and an empty one at the end).
 * @param address `host:port`, or the path of its socket
 * @throws TemporaryFailure that names clamd and its address when it does not answer
 */
export async function scanForViruses(
  address: string,
  message: Readable,
  signal: AbortSignal,
): Promise<VirusVerdict> {
  const socket = connect(endpointOf(address));
  const broken = (error: Error) => socket.destroy(error);
  const abort = () => broken(signal.reason as Error);
  signal.addEventListener("abort", abort);
  socket.setTimeout(silence, () => broken(new Error(`silent for ${silence / 1_000} s`)));
  const reply = replyOf(socket);
  try {
    // Where clamd has enough before the end it says so and hangs up: then its word counts, not the broken pipe.
    await Promise.race([send(socket, message), reply]).catch(() => {});
    return verdictOf(await reply);
  } catch (error) {
    const { code, message: text } = error as NodeJS.ErrnoException;
    throw new TemporaryFailure(`clamd at ${address} does not scan: ${text}`, {
      code: code ?? "CLAMD",
      cause: error,
    });
  } finally {
    signal.removeEventListener("abort", abort);
    message.destroy();
    socket.destroy();
  }
}

function endpointOf(address: string): { path: string } | { host: string; port: number } {
  if (address.startsWith("/")) return { path: address };
  const [, host = "127.0.0.1", port = "3310"] = /^\[?([^\]]*?)\]?:(\d+)$/.exec(address) ?? [];
  return { host, port: Number(port) };
}

async function send(socket: Socket, message: Readable): Promise<void> {
  socket.write("zINSTREAM\0");
  for await (const piece of message as AsyncIterable<Buffer>) {
    const chunk = Buffer.alloc(4 + piece.length);
    chunk.writeUInt32BE(piece.length);
    chunk.set(piece, 4);
    // What it has said is read immediately before the next octet goes: written to after it hung up, the socket would
    // lose it. Should it hang up in between all the same, the message is scanned again.
    await setImmediate();
    if (socket.destroyed || socket.bytesRead > 0) return;
    if (!socket.write(chunk)) await Promise.race([once(socket, "drain"), once(socket, "close")]);
  }
  socket.write(Buffer.alloc(4));
}

/** All it says until it hangs up, without the NUL at the end. */
async function replyOf(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (data: Buffer) => {
    text += data.toString("utf8");
  });
  await new Promise<void>((resolve, reject) => {
    socket.on("error", (error) => (text === "" ? reject(error) : resolve()));
    socket.on("close", () => resolve());
  });
  return text.replaceAll("\0", "").trim();
}

function verdictOf(reply: string): VirusVerdict {
  const found = /^stream: (.*) FOUND$/.exec(reply)?.[1];
  if (found) return { result: "infected", name: found };
  if (reply === "stream: OK") return { result: "clean" };
  if (/size limit exceeded/i.test(reply)) return { result: "unscanned", reason: reply };
  throw new Error(reply === "" ? "it hung up without a word" : reply);
}
