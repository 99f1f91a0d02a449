import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";

/** A real Redis of a test's own, on a unix socket in a folder of its own, durable like the real one. */
export interface TestRedis {
  url: string;
  pid(): number;
  /** Freezes the process: connections stay, answers do not come. */
  freeze(): void;
  thaw(): void;
  /** Ends it without a chance to save anything. */
  kill(): Promise<void>;
  /** Starts it again on the same files. */
  start(): Promise<void>;
  /** Ends it and removes its files. */
  stop(): Promise<void>;
}

/** Starts a Redis. `args` are further words for redis-server's command line. */
export async function startRedis(args: string[] = []): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-redis-"));
  const socket = join(folder, "redis.sock");
  const url = `unix://${socket}`;
  let child: ChildProcess | undefined;

  const start = async () => {
    child = spawn(
      "redis-server",
      [
        "--port",
        "0",
        "--unixsocket",
        socket,
        "--dir",
        folder,
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
      ].concat(["--maxmemory-policy", "noeviction", "--save", "", "--daemonize", "no"], args),
      { stdio: "ignore" },
    );
    const probe = new Redis({ path: socket, lazyConnect: true, retryStrategy: () => null });
    probe.on("error", () => {});
    for (let tries = 0; ; tries++) {
      try {
        await probe.connect();
        await probe.ping();
        break;
      } catch (error) {
        probe.disconnect();
        if (tries > 200) throw error;
        await sleep(25);
      }
    }
    probe.disconnect();
  };
  const ended = async (signal: NodeJS.Signals) => {
    const process = child;
    if (!process || process.exitCode !== null || process.signalCode !== null) return;
    const gone = new Promise((resolve) => process.once("exit", resolve));
    process.kill("SIGCONT");
    process.kill(signal);
    await gone;
  };

  await start();
  return {
    url,
    pid: () => child?.pid as number,
    freeze: () => void child?.kill("SIGSTOP"),
    thaw: () => void child?.kill("SIGCONT"),
    kill: () => ended("SIGKILL"),
    start,
    stop: async () => {
      await ended("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    },
  };
}
