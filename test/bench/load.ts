import { spawn } from "node:child_process";
import { once } from "node:events";
import { getuid } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../support/free-port.ts";
import { command, end, listening } from "./system.ts";

/** What is sent: the same to each system. */
export interface Load {
  messages: number;
  /** Connections at the same time, each of which stays open for many messages. */
  sessions: number;
  /** Octets of one message's body. */
  bytes: number;
  /** Recipient; b@x.example without it. */
  to?: string;
}

/**
 * Sends with Postfix's smtp-source, which costs the machine far less than what it measures.
 * Resolves with the seconds until every message had its 250. @throws when one was refused
 */
export async function sendLoad(
  port: number,
  { messages, sessions, bytes, to = "b@x.example" }: Load,
): Promise<number> {
  const words = ["-d", "-s", sessions, "-m", messages, "-l", bytes, "-f", "a@x.example", "-t", to];
  const startedAt = performance.now();
  await command("smtp-source", [...words, `127.0.0.1:${port}`].map(String));
  return (performance.now() - startedAt) / 1_000;
}

/** Postfix's smtp-sink: takes every message, counts it and forgets it. */
export interface Sink {
  port: number;
  received(): number;
  /** Resolves when it has received so many since it was started. @throws after a minute without another one */
  hasReceived(count: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startSink(): Promise<Sink> {
  const port = await freePort();
  // It refuses to run as root.
  const user = getuid?.() === 0 ? ["-u", "nobody"] : [];
  const child = spawn("smtp-sink", ["-c", ...user, `127.0.0.1:${port}`, "1024"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let received = 0;
  let left = "";
  child.stdout.setEncoding("latin1").on("data", (data: string) => {
    const counts = (left + data).split("\r");
    left = counts.pop() ?? "";
    received = Number(/mesg=(\d+)/.exec(counts.at(-1) ?? "")?.[1] ?? received);
  });
  const current = () => Math.max(received, Number(/mesg=(\d+)$/.exec(left)?.[1] ?? 0));
  await listening(port, child);
  return {
    port,
    received: current,
    async hasReceived(count) {
      let [last, at] = [current(), Date.now()];
      while (current() < count) {
        await sleep(5);
        if (current() > last) [last, at] = [current(), Date.now()];
        if (Date.now() - at > 60_000)
          throw new Error(`${count - current()} of ${count} messages were not delivered within a minute`);
      }
    },
    stop: () => end(child),
  };
}

/** Sends and waits for the sink. Resolves with the seconds from the first message to the last one's delivery. */
export async function sendThrough(port: number, sink: Sink, load: Load): Promise<number> {
  const before = sink.received();
  const startedAt = performance.now();
  await Promise.all([sendLoad(port, load), sink.hasReceived(before + load.messages)]);
  return (performance.now() - startedAt) / 1_000;
}

/** Resolves once a child process has sent its parent a message of this type. */
export async function message(child: NodeJS.EventEmitter, type: string): Promise<Record<string, unknown>> {
  for (;;) {
    const [sent] = (await Promise.race([
      once(child, "message"),
      once(child, "exit").then(([status]) => {
        throw new Error(`ended with status ${status} before it was ${type}`);
      }),
    ])) as [Record<string, unknown>];
    if (sent.type === type) return sent;
  }
}
