import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** A mail server that is being measured. It listens on 127.0.0.1. */
export interface System {
  name: string;
  port: number;
  /** Clears what a round left behind, outside the time that is measured. */
  clear?(): Promise<void>;
  stop(): Promise<void>;
}

/** A system that can't be measured on this machine; its message goes into the table. */
export class NotInstalled extends Error {
  override name = "NotInstalled";
}

/** Resolves when something accepts connections there. @throws when `child` ends first, or after 30 s */
export async function listening(port: number, child?: ChildProcess): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const open = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "close").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (open) return;
    if (child && (child.exitCode !== null || child.signalCode !== null))
      throw new Error(`${child.spawnfile} ended before it listened on port ${port}`);
    if (Date.now() > deadline) throw new Error(`nothing listens on port ${port} after 30 s`);
    await sleep(50);
  }
}

/** Ends a process and waits until it is gone; after 30 s without a further question. */
export async function end(child: ChildProcess, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill(signal);
  const last = setTimeout(() => child.kill("SIGKILL"), 30_000);
  await gone;
  clearTimeout(last);
}

/** Runs a command to its end. @throws Error with what it wrote on standard error, unless its status is 0 */
export async function command(
  program: string,
  words: string[],
  options: { cwd?: string } = {},
): Promise<string> {
  const child = spawn(program, words, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data: Buffer) => {
    out += data;
  });
  child.stderr.on("data", (data: Buffer) => {
    err += data;
  });
  const [status, signal] = (await once(child, "close")) as [number | null, string | null];
  if (status !== 0)
    throw new Error(`${program} ended with ${signal ?? `status ${status}`}: ${err.trim() || out.trim()}`);
  return out;
}
