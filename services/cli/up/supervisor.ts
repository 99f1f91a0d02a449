import { type ChildProcess, fork, spawn } from "node:child_process";
import type { EventEmitter } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { childEnvironment } from "@millrace/service";

/** A process of ours to keep running. */
export interface ServiceSpec {
  name: string;
  /** Path of its main file. */
  file: string;
  /** Beside our own environment. */
  env: Record<string, string>;
  /** Options of Node itself. */
  nodeOptions?: string[];
}

/** Somebody else's program to keep running, in the foreground. */
export interface ProgramSpec {
  name: string;
  /** Path. */
  program: string;
  words: readonly string[];
  /** Linux's batch policy (sched(7)): it waits for its turn at a core, and takes it from nobody. */
  batch?: boolean;
  /** Whether it does its work. */
  isReady: () => Promise<boolean>;
}
export type ProcessSpec = ServiceSpec | ProgramSpec;

export interface Supervised {
  readonly name: string;
  /** What it said when it became ready. Rejects when it ended before that, with {@link StartFailed}. */
  ready: Promise<Record<string, unknown>>;
  pid(): number | undefined;
  /** Sends a signal, as long as it runs. */
  signal(signal: NodeJS.Signals): void;
  /**
   * Sends a signal, or a service the message that everything ends; and SIGKILL after `within` milliseconds. Resolves when
   * it is gone.
   */
  stop(within: number, by?: NodeJS.Signals | "message"): Promise<void>;
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
 * Starts a process and starts it again whenever it ends by itself, with backoff. It is told to end by a signal, and
 * ends by itself when this process is gone: a service since it is connected to it, a program where Linux tells it.
 *
 * @param say told of each crash and restart, in words
 * @param output takes what a service writes, unless `inherit` lets it write to our standard error itself
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
    const started = launch(spec, inherit);
    child = started;
    const take = "file" in spec ? output : tellOf(name, say);
    if (started.stderr) take(started.stderr);
    if (started.stdout) take(started.stdout);
    const isReady = (message: Record<string, unknown>) => {
      if (wasReady) say(`${name} is back (pid ${started.pid})`);
      wasReady = true;
      ready.resolve(message);
    };
    started.on("message", (message: { type?: string }) => {
      if (message.type === "ready") isReady(message as Record<string, unknown>);
    });
    if ("isReady" in spec) void becomesReady(spec, started).then((is) => is && isReady({}));
    (started as EventEmitter).on("error", (error: Error) => {
      say(`${name} could not be started: ${error.message}`);
      if (started.pid !== undefined) return;
      child = undefined;
      if (!wasReady) ready.reject(new StartFailed(name, 1));
    });
    started.once("exit", (code, signal) => {
      child = undefined;
      if ("program" in spec) endGroup(started);
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
    signal: (signal) => void child?.kill(signal),
    async stop(within, by = "SIGTERM") {
      stopping = true;
      clearTimeout(timer);
      const running = child;
      if (!running || running.exitCode !== null || running.signalCode !== null) return;
      const gone = new Promise((resolve) => running.once("exit", resolve));
      if (by === "message") running.send({ type: "stop" }, () => {});
      else running.kill(by);
      const killer = setTimeout(() => running.kill("SIGKILL"), within);
      await gone;
      clearTimeout(killer);
    },
  };
}

function launch(spec: ProcessSpec, inherit: boolean): ChildProcess {
  if ("file" in spec) {
    return fork(spec.file, {
      env: childEnvironment(spec.env),
      execArgv: spec.nodeOptions ?? [],
      stdio: ["ignore", inherit ? 2 : "pipe", inherit ? "inherit" : "pipe", "ipc"],
    });
  }
  // util-linux's setpriv has the kernel end it when this process is gone, however that came about. In a group of its
  // own: Ctrl-C is for us, and we end it when nobody needs it any more.
  const bound = through("/usr/bin/setpriv", "--pdeathsig", "TERM");
  const batch = spec.batch ? through("/usr/bin/chrt", "--batch", "0") : [];
  const [program, ...words] = [...bound, ...batch, spec.program, ...spec.words] as [string, ...string[]];
  return spawn(program, words, {
    env: childEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
}

/** Words to start another program through this one, where it is installed. */
function through(program: string, ...words: string[]): string[] {
  return existsSync(program) ? [program, ...words] : [];
}

/** What a program has left behind when it was killed: nginx's workers would keep its ports. */
function endGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody is left, as after any end in order.
  }
}

/** What a program writes is not for machines to read; what it has to say about its own good order is left out. */
function tellOf(name: string, say: (text: string) => void): (stream: NodeJS.ReadableStream) => void {
  return (input) =>
    void createInterface({ input }).on("line", (line) => {
      if (line.trim() !== "" && !/\[notice\]/i.test(line)) say(`${name}: ${line}`);
    });
}

/** Whether it is ready before it ends. */
async function becomesReady({ isReady }: ProgramSpec, child: ChildProcess): Promise<boolean> {
  while (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    if (await isReady()) return true;
    await sleep(20, undefined, { ref: false });
  }
  return false;
}
