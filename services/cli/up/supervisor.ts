import { type ChildProcess, fork } from "node:child_process";
import type { EventEmitter } from "node:events";
import { childEnvironment } from "@millrace/service";

/** A process to keep running. */
export interface ProcessSpec {
  name: string;
  /** Path of its main file. */
  file: string;
  /** Beside our own environment. */
  env: Record<string, string>;
  /** Options of Node itself. */
  nodeOptions?: string[];
}

export interface Supervised {
  readonly name: string;
  /** What it said when it became ready. Rejects when it ended before that, with {@link StartFailed}. */
  ready: Promise<Record<string, unknown>>;
  pid(): number | undefined;
  /** Sends SIGTERM, and SIGKILL after `within` milliseconds. Resolves when it is gone. */
  stop(within: number): Promise<void>;
}

/** A process ended before it was ever ready: starting it again would end the same way. */
export class StartFailed extends Error {
  override name = "StartFailed";
  readonly status: number;

  constructor(name: string, status: number) {
    super(`${name} could not start`);
    this.status = status;
  }
}

/** Milliseconds before a crashed process is started again: doubles while it goes on crashing. */
const firstDelay = 250;
const longestDelay = 30_000;
/** Milliseconds after which a process counts as healthy, so that its next crash is a first one again. */
const healthyAfter = 30_000;

/**
 * Starts a Node process and starts it again whenever it ends by itself, with backoff. It is told to end by
 * SIGTERM, and ends by itself when this process is gone, since it is connected to it.
 *
 * @param say told of each crash and restart, in words
 * @param output takes what it writes, unless `inherit` lets it write to our standard error itself
 */
export function supervise(
  spec: ProcessSpec,
  say: (text: string) => void,
  output: (stream: NodeJS.ReadableStream) => void,
  inherit: boolean,
): Supervised {
  const { name } = spec;
  let child: ChildProcess | undefined;
  let stopping = false;
  let delay = firstDelay;
  let timer: NodeJS.Timeout | undefined;
  let wasReady = false;
  const ready = Promise.withResolvers<Record<string, unknown>>();
  ready.promise.catch(() => {});

  const start = () => {
    const startedAt = performance.now();
    const started = fork(spec.file, {
      env: childEnvironment(spec.env),
      execArgv: spec.nodeOptions ?? [],
      stdio: ["ignore", inherit ? 2 : "pipe", inherit ? "inherit" : "pipe", "ipc"],
    });
    child = started;
    if (started.stderr) output(started.stderr);
    if (started.stdout) output(started.stdout);
    started.on("message", (message: { type?: string }) => {
      if (message.type !== "ready") return;
      if (wasReady) say(`${name} is back (pid ${started.pid})`);
      wasReady = true;
      ready.resolve(message as Record<string, unknown>);
    });
    (started as EventEmitter).on("error", (error: Error) =>
      say(`${name} could not be started: ${error.message}`),
    );
    started.once("exit", (code, signal) => {
      child = undefined;
      if (stopping) return;
      if (!wasReady) return ready.reject(new StartFailed(name, code ?? 1));
      if (performance.now() - startedAt > healthyAfter) delay = firstDelay;
      say(`${name} ended (${signal ?? `status ${code}`}), starting it again in ${delay / 1_000} s`);
      timer = setTimeout(start, delay);
      delay = Math.min(delay * 2, longestDelay);
    });
  };
  start();

  return {
    name,
    ready: ready.promise,
    pid: () => child?.pid,
    async stop(within) {
      stopping = true;
      clearTimeout(timer);
      const running = child;
      if (!running || running.exitCode !== null || running.signalCode !== null) return;
      const gone = new Promise((resolve) => running.once("exit", resolve));
      running.kill("SIGTERM");
      const killer = setTimeout(() => running.kill("SIGKILL"), within);
      await gone;
      clearTimeout(killer);
    },
  };
}
