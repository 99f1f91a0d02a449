import { type ChildProcess, fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { childEnvironment } from "@millrace/service";
import type { Order, Word } from "./worker-process.ts";

/** TypeScript in a workspace, JavaScript in an installation: the package says which. */
const program = fileURLToPath(import.meta.resolve("millrace/dev-worker"));

/** Milliseconds an old process has to show that it is not blocked, and to hand back what it has. */
const answerWithin = 500;
const endWithin = 5_000;
/** Milliseconds before a crashed worker is started again: doubles while it goes on crashing. */
const firstDelay = 250;
const longestDelay = 10_000;
/** Milliseconds after which a worker counts as healthy, so that its next crash is a first one again. */
const healthyAfter = 10_000;

/** How a process of a worker came to its end. */
export interface WorkerEnd {
  pid: number;
  /** Undefined when it ended before it was ready. */
  worker: string | undefined;
  /** "status 1", "SIGKILL", or in words. */
  how: string;
  /** `asked`: we told it to end, and it did. `killed`: we had to. `crashed`: nobody asked. `unloadable`: it never was ready. */
  why: "asked" | "killed" | "crashed" | "unloadable";
  /** Milliseconds after which it is started again by itself; undefined when it waits for a save. */
  again: number | undefined;
}

/** What becomes of a worker, as it happens. */
export interface WorkerEvents {
  /** Its code is at work, `ms` after it was told to start. */
  live(worker: string, ms: number): void;
  /** A process of it is told to end, or has to; resolves when its successor may come. */
  ending(worker: string, pid: number): Promise<void>;
  /** Resolves when all it leaves behind is dealt with. */
  ended(end: WorkerEnd): Promise<void>;
  imports(files: readonly string[]): void;
  output(child: ChildProcess): void;
}

export interface DevWorker {
  readonly file: string;
  /** Runs the file as it is now, in a new process; the old one is told to end, and not waited for. */
  restart(): void;
  /** Tells it to end, and waits until it has. */
  stop(): Promise<void>;
}

interface Run {
  child: ChildProcess;
  startedAt: number;
  worker: string | undefined;
  leaving: "asked" | "killed" | undefined;
  gone: Promise<void>;
}

/**
 * Runs a worker's file in a process of its own, and another one in its place when it crashed or when it is told to.
 * @param options `env` beside our own; `inspect` an option of Node, with which there is one process at a time
 */
export function runDevWorker(
  file: string,
  options: { env: Record<string, string>; heapMb: number; inspect: string | undefined },
  events: WorkerEvents,
): DevWorker {
  let standby: ChildProcess | undefined;
  let current: Run | undefined;
  const runs = new Set<Run>();
  let delay = firstDelay;
  let timer: NodeJS.Timeout | undefined;
  let stopping = false;
  /** One after the other: a save during a restart is a restart after it. */
  let turn: Promise<void> = Promise.resolve();

  const spawn = (): ChildProcess => {
    const child = fork(program, {
      env: childEnvironment(options.env),
      execArgv: [
        `--max-old-space-size=${options.heapMb}`,
        ...(options.inspect === undefined ? [] : [options.inspect]),
      ],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      // Ctrl-C on the terminal is for us; we end them in order.
      detached: true,
    });
    child.on("error", () => {});
    giveUpFirst(child.pid);
    return child;
  };
  const prepare = () => {
    if (options.inspect !== undefined || standby || stopping) return;
    const child = spawn();
    standby = child;
    child.once("exit", () => {
      if (standby === child) standby = undefined;
    });
  };

  const start = () => {
    clearTimeout(timer);
    const child = standby ?? spawn();
    standby = undefined;
    const gone = Promise.withResolvers<void>();
    const run: Run = {
      ...{ child, startedAt: performance.now(), worker: undefined, leaving: undefined },
      gone: gone.promise,
    };
    current = run;
    runs.add(run);
    events.output(child);
    child.on("message", (word: Word) => {
      if (word.type === "imports") events.imports(word.files);
      if (word.type !== "ready") return;
      run.worker = word.worker;
      events.live(word.worker, performance.now() - run.startedAt);
      prepare();
    });
    child.once("close", (code, signal) => {
      runs.delete(run);
      void over(run, signal ?? `status ${code}`).finally(gone.resolve);
    });
    tell(child, { type: "run", file });
  };

  const over = async (run: Run, how: string): Promise<void> => {
    const { worker, leaving } = run;
    const mine = current === run;
    if (mine) current = undefined;
    const why = leaving ?? (worker === undefined ? "unloadable" : "crashed");
    if (why === "crashed" && performance.now() - run.startedAt > healthyAfter) delay = firstDelay;
    const again = why === "crashed" && mine && !stopping ? delay : undefined;
    // What comes next, a save or a restart, is not to wait for it.
    if (mine) prepare();
    await events.ended({ pid: run.child.pid as number, worker, how, why, again });
    if (again === undefined) return;
    delay = Math.min(2 * delay, longestDelay);
    timer = setTimeout(start, again);
  };

  const end = async (run: Run): Promise<void> => {
    if (run.leaving) return;
    run.leaving = "asked";
    const { child, worker } = run;
    if (worker !== undefined) await events.ending(worker, child.pid as number);
    const kill = () => {
      run.leaving = "killed";
      child.kill("SIGKILL");
    };
    // One that is blocked would neither end nor hand anything back.
    const blocked = setTimeout(kill, answerWithin);
    child.on("message", (word: Word) => word.type === "pong" && clearTimeout(blocked));
    const late = setTimeout(kill, endWithin);
    void run.gone.then(() => [blocked, late].forEach(clearTimeout));
    tell(child, { type: "ping" });
    child.kill("SIGTERM");
  };

  const restart = async (): Promise<void> => {
    if (stopping) return;
    clearTimeout(timer);
    delay = firstDelay;
    const old = current;
    if (old) await end(old);
    if (old && options.inspect !== undefined) await old.gone;
    start();
  };

  return {
    file,
    restart() {
      turn = turn.then(restart);
    },
    async stop() {
      stopping = true;
      clearTimeout(timer);
      await turn;
      standby?.kill("SIGKILL");
      await Promise.all([...runs].map((run) => end(run).then(() => run.gone)));
    },
  };
}

function tell(child: ChildProcess, order: Order): void {
  if (child.connected) child.send(order, () => {});
}

/** Where memory runs out, this process is to go before Redis and the rest of the pipeline (proc(5), Linux). */
function giveUpFirst(pid: number | undefined): void {
  try {
    if (pid !== undefined) writeFileSync(`/proc/${pid}/oom_score_adj`, "1000");
  } catch {
    // Another system, or one that does not let us: then the kernel chooses by itself.
  }
}
