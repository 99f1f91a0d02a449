import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { reportDisk } from "@millrace/pipeline/runtime";
import { type Config, patientRedis, StartError } from "@millrace/service";
import { systemProgram } from "./system-program.ts";

/** The Redis that `millrace up` runs for itself. */
export interface ManagedRedis {
  pid: number;
  /** Whether it was found running: left behind by an `up` that was killed. */
  adopted: boolean;
  /** Lets it write what it has and ends it. */
  stop(): Promise<void>;
}

/** A unix socket's path has at most 107 octets (unix(7)). */
const longestSocketPath = 107;

/**
 * Starts a durable Redis under the data folder, or takes over the one that is running there.
 * It is started in a process group of its own: Ctrl-C must not end it before those who still write to it.
 *
 * @param say told when it had to be started again
 * @throws StartError that says what to install or to correct
 */
export async function startRedis(config: Config, say: (text: string) => void): Promise<ManagedRedis> {
  const folder = config.paths.redis;
  const socket = config.redisUrl.slice("unix://".length);
  if (Buffer.byteLength(socket) > longestSocketPath) {
    throw new StartError(
      `MILLRACE_DATA_DIR=${config.paths.data} is too long a path for a unix socket: choose a shorter one, or set REDIS_URL`,
    );
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const maxMemory = maxMemoryMb(config) * 1_048_576;
  const client = patientRedis(config.redisUrl, { lazyConnect: true });
  let stopping = false;

  const start = async (): Promise<number> => {
    const program = systemProgram("redis", ["redis-server", "valkey-server"], say, "set REDIS_URL");
    const child = spawn(program, redisArguments(folder, socket, maxMemory), {
      stdio: "ignore",
      detached: true,
    });
    let ended: string | undefined;
    child.once("error", (error) => {
      ended = error.message;
    });
    child.once("exit", (code, signal) => {
      ended = signal ?? `status ${code}`;
    });
    while (!ended) {
      if (await answers(config.redisUrl)) break;
      await sleep(20);
    }
    if (ended) {
      throw new StartError(
        `redis-server ended (${ended}) before it was ready: ${join(folder, "redis.log")} says why`,
      );
    }
    child.once("exit", (code, signal) => void restart(signal ?? `status ${code}`));
    child.unref();
    return child.pid as number;
  };

  const restart = async (reason: string): Promise<void> => {
    adopted = false;
    for (let delay = 250; !stopping; delay = Math.min(delay * 2, 10_000)) {
      say(`redis ended (${reason}), starting it again in ${delay / 1_000} s`);
      await sleep(delay, undefined, { ref: false });
      if (stopping) return;
      try {
        managed.pid = await start();
        return say(`redis is back (pid ${managed.pid})`);
      } catch (error) {
        reason = (error as Error).message;
      }
    }
  };

  let adopted = await answers(config.redisUrl);
  const managed: ManagedRedis = {
    pid: 0,
    adopted,
    async stop() {
      stopping = true;
      stopReporting();
      // SHUTDOWN answers by closing the connection, once all it has is on the disk.
      const closed = new Promise((resolve) => client.once("close", resolve));
      client.shutdown("NOSAVE").catch(() => {});
      await Promise.race([closed, sleep(10_000, undefined, { ref: false })]);
      client.disconnect();
      for (let tries = 0; tries < 200 && isRunning(managed.pid); tries++) await sleep(10);
    },
  };
  managed.pid = adopted ? 0 : await start();
  await client.connect().catch(() => {});
  // One that cannot write to its file ends itself: the edges must refuse mail before that.
  const stopReporting = reportDisk(
    client,
    { name: "redis", folder, minFree: config.settings.STORE_MIN_FREE_MB * 1_048_576 },
    (error) => say(`cannot report how full the disk of ${folder} is: ${error.message}`),
  );
  if (adopted) {
    await client.config("SET", "maxmemory", maxMemory);
    managed.pid = Number(/^process_id:(\d+)/m.exec(await client.info("server"))?.[1] ?? 0);
    // It is nobody's child any more, so that only its connection tells of its end.
    client.on("close", () => {
      if (!stopping && adopted && !isRunning(managed.pid)) void restart("it was gone");
    });
  }
  return managed;
}

function isRunning(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function answers(url: string): Promise<boolean> {
  const probe = patientRedis(url, {
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    commandTimeout: 2_000,
    retryStrategy: () => null,
  });
  try {
    await probe.connect();
    return (await probe.ping()) === "PONG";
  } catch (error) {
    // It is there and reads its files: not an answer yet, but no reason to start a second one either.
    if (!/LOADING/.test((error as Error).message)) return false;
    await sleep(50);
    return answers(url);
  } finally {
    probe.disconnect();
  }
}

/**
 * Its `maxmemory`: by default 40 % of what this machine, or this container, has. While it rewrites its file it may
 * need as much again (every page written to meanwhile is copied), and the rest is for our own processes.
 */
function maxMemoryMb({ settings }: Config): number {
  const memory = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
  return settings.REDIS_MAX_MEMORY_MB ?? Math.floor((0.4 * memory) / 1_048_576);
}

function redisArguments(folder: string, socket: string, maxMemory: number): string[] {
  const settings: Record<string, string> = {
    port: "0",
    unixsocket: socket,
    unixsocketperm: "700",
    dir: folder,
    logfile: join(folder, "redis.log"),
    daemonize: "no",
    appendonly: "yes",
    appendfsync: "always",
    // Rewriting must not suspend the fsync that a 250 waits for.
    "no-appendfsync-on-rewrite": "no",
    maxmemory: String(maxMemory),
    "maxmemory-policy": "noeviction",
    save: "",
  };
  return Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]);
}
