import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { delimiter } from "node:path";
import { until } from "@millrace/test/until";

/** A program that a test runs beside the pipeline. */
export interface Program {
  output(): string;
  stop(): Promise<void>;
}

/**
 * Starts a program in the foreground.
 * @param ready asked until it is so; @throws with what the program has written, when it ends before
 */
export async function startProgram(
  words: readonly [command: string, ...args: string[]],
  ready: () => boolean | Promise<boolean>,
  env: Record<string, string> = {},
): Promise<Program> {
  const [command, ...args] = words;
  // Debian keeps servers where only root's search path leads.
  const path = [process.env.PATH, "/usr/sbin", "/sbin"].join(delimiter);
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, for those that have children.
    detached: true,
    env: { ...process.env, PATH: path, ...env },
  });
  let output = "";
  let failure: Error | undefined;
  child.on("error", (error) => {
    failure = error;
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data: Buffer) => {
      output += data.toString();
    });
  }
  try {
    await until(async () => {
      if (failure || hasEnded(child))
        throw new Error(`${command} did not start: ${failure?.message ?? output}`);
      return ready();
    }, 90_000);
  } catch (error) {
    if (child.pid !== undefined && !hasEnded(child)) process.kill(-child.pid, "SIGKILL");
    throw error;
  }
  return {
    output: () => output,
    async stop() {
      if (hasEnded(child)) return;
      const gone = once(child, "exit");
      process.kill(-(child.pid as number), "SIGKILL");
      await gone;
    },
  };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
