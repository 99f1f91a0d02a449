import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Decision, PolicyTransaction } from "@millrace/pipeline";
import { type FilePolicyConfig, type Logger, StartError } from "@millrace/service";
import type { Judge } from "./judge.ts";
import type { FromPolicies, LoadedPolicy, ThrownError, ToPolicies } from "./policy-process.ts";

// A process, and no thread: V8 cannot stop a thread in every loop, not even in one that is out of memory, and a thread
// that cannot be stopped keeps the whole edge from ending.

export interface PolicyProcess {
  /** One for each file, in their order. */
  judges: Judge[];
  close(): Promise<void>;
}

/** TypeScript in a workspace, JavaScript in an installation: as this file is. */
const program = fileURLToPath(new URL(`./policy-process${extname(import.meta.url)}`, import.meta.url));

/** Milliseconds for all files to load. */
const loadTimeout = 30_000;
/** Milliseconds in which the process must show that it is alive when one of its decisions is overdue. */
const grace = 1_000;
/** Milliseconds after which a death is no longer one of a series. */
const seriesEnds = 60_000;
/** Milliseconds of the first pause and of the longest. The first death in a series has none. */
const pauses = { first: 250, longest: 30_000 };
/** Milliseconds between two looks at the memory of the process. */
const memoryEvery = 200;
/** MiB of the process beside its heap and buffers: Node's own. */
const bareMb = 128;

interface Handed {
  policy: LoadedPolicy;
  question: Extract<ToPolicies, { ask: number }>;
  timer: NodeJS.Timeout;
  /** Settled already: it only has not been heard that the process knows. */
  overdue: boolean;
  resolve(decision: Decision): void;
  reject(error: Error): void;
}

/**
 * Loads policies into a process of their own.
 * @param heapMb MiB of its heap, and of the buffers it has beside it
 * @throws StartError that names the file, when one does not load or is no policy
 */
export async function openPolicyProcess(
  configs: readonly FilePolicyConfig[],
  heapMb: number,
  log: Logger,
): Promise<PolicyProcess> {
  const host = new Host(configs, heapMb, log);
  let loaded: LoadedPolicy[];
  try {
    loaded = await host.start();
  } catch (error) {
    await host.close();
    throw new StartError(`policies: ${(error as Error).message}`);
  }
  const judges = loaded.map((policy, index): Judge => {
    const { timeout = policy.timeout, onError = policy.onError } = configs[index] as FilePolicyConfig;
    const own = { ...policy, timeout, onError };
    return { ...own, ask: (transaction) => host.ask(own, index, transaction) };
  });
  return { judges, close: () => host.close() };
}

/** The edge's side: hands decisions over, keeps their time, and starts the process again when it has died. */
class Host {
  private readonly configs: readonly FilePolicyConfig[];
  private readonly heapMb: number;
  private readonly log: Logger;
  private child: ChildProcess | undefined;
  private loaded = false;
  private startedAt = 0;
  private deaths = 0;
  private restart: NodeJS.Timeout | undefined;
  private memoryWatch: NodeJS.Timeout | undefined;
  private lastId = 0;
  /** The last decision that was begun. */
  private begun = 0;
  private readonly handed = new Map<number, Handed>();
  /** Asked while the process was loading. */
  private readonly early: Handed["question"][] = [];
  /** Whether it has ever loaded: before that the edge is not up, and nothing is started again. */
  private opened = false;
  private closed = false;

  constructor(configs: readonly FilePolicyConfig[], heapMb: number, log: Logger) {
    this.configs = configs;
    this.heapMb = heapMb;
    this.log = log;
  }

  /** Resolves when all files are loaded. */
  start(): Promise<LoadedPolicy[]> {
    const child = fork(program, {
      execArgv: [`--max-old-space-size=${this.heapMb}`],
      serialization: "advanced",
    });
    this.child = child;
    this.loaded = false;
    this.startedAt = performance.now();
    const load = this.configs.map(({ file, options }) => ({ file, options }));
    return new Promise((resolve, reject) => {
      const ended = (error: Error) => {
        clearTimeout(patience);
        reject(error);
        this.died(child, error);
      };
      const patience = setTimeout(
        () => ended(new Error(`they have not loaded within ${loadTimeout / 1_000} s`)),
        loadTimeout,
      );
      let reason: Error | undefined;
      child.on("error", ended);
      child.on("exit", (code, signal) =>
        ended(reason ?? new Error(`their process ended with ${signal ?? `status ${code}`}`)),
      );
      child.on("message", (message: FromPolicies) => {
        if (child !== this.child) return;
        if (message.is === "unloadable") ended(new Error(message.reason));
        else if (message.is === "ending") reason = asError(message.error);
        else if (message.is === "loaded") {
          clearTimeout(patience);
          this.opened = true;
          this.loaded = true;
          for (const question of this.early.splice(0)) this.send(question);
          resolve(message.policies);
        } else this.hear(message);
      });
      this.send({ load, logLevel: this.log.level });
    });
  }

  ask(policy: LoadedPolicy, index: number, transaction: PolicyTransaction): Promise<Decision> {
    return new Promise((resolve, reject) => {
      if (!this.child) {
        reject(
          new Error(`the policies' process has died ${this.deaths} times in a row, and rests for a while`),
        );
        return;
      }
      const id = ++this.lastId;
      const question = { ask: id, policy: index, transaction };
      const timer = setTimeout(() => this.overdue(id), policy.timeout);
      this.handed.set(id, { policy, question, timer, overdue: false, resolve, reject });
      if (this.loaded) this.send(question);
      else this.early.push(question);
      this.memoryWatch ??= setInterval(() => void this.lookAtMemory(), memoryEvery);
    });
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.restart);
    clearInterval(this.memoryWatch);
    const { child } = this;
    this.child = undefined;
    for (const id of [...this.handed.keys()]) this.fail(id, new Error("the edge is closing"));
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  /** What cannot be sent any more is answered for when the end of the process is heard of. */
  private send(message: ToPolicies): void {
    this.child?.send(message, () => {});
  }

  private hear(message: FromPolicies): void {
    switch (message.is) {
      case "begun":
        this.begun = message.id;
        return;
      case "decided":
        this.take(message.id)?.resolve(message.decision);
        return;
      case "failed":
        this.fail(message.id, asError(message.error));
        return;
      case "aborted":
        this.take(message.id);
        return;
      case "log":
        this.passOn(message.line);
    }
  }

  /** What a policy has logged, among the edge's own lines. */
  private passOn(line: string): void {
    const { level, time: _time, pid: _pid, name: _name, msg, ...fields } = JSON.parse(line);
    this.log[this.log.levels.labels[level] as "info"](fields, msg);
  }

  private take(id: number): Handed | undefined {
    const handed = this.handed.get(id);
    if (handed) clearTimeout(handed.timer);
    this.handed.delete(id);
    return handed;
  }

  private fail(id: number, error: Error): void {
    this.take(id)?.reject(error);
  }

  private overdue(id: number): void {
    const handed = this.handed.get(id);
    const { child } = this;
    if (!handed) return;
    handed.overdue = true;
    handed.reject(new Error(`no decision within ${handed.policy.timeout / 1_000} s`));
    if (!child || !this.loaded) {
      this.handed.delete(id);
      return;
    }
    this.send({ abort: id });
    // A policy that waits for something is merely slow; a process that does not answer lets nobody else decide.
    handed.timer = setTimeout(() => {
      this.died(child, new Error("a policy has not given the event loop back"));
      this.take(id);
    }, grace);
  }

  private async lookAtMemory(): Promise<void> {
    const { child } = this;
    if (this.handed.size === 0 || !child) {
      clearInterval(this.memoryWatch);
      this.memoryWatch = undefined;
      return;
    }
    // The limit of the heap says nothing about buffers, which are outside of it. Only Linux tells in this way.
    const status = await readFile(`/proc/${child.pid}/status`, "utf8").catch(() => "");
    const residentMb = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1_024;
    if (residentMb > bareMb + 2 * this.heapMb)
      this.died(
        child,
        new Error(`more memory than POLICY_HEAP_MB=${this.heapMb} of heap and as much in buffers`),
      );
  }

  /**
   * Ends the process if it has not ended by itself, and starts the next. Decisions it has begun have failed; those it
   * never got to go to the next.
   */
  private died(child: ChildProcess, error: Error): void {
    if (child !== this.child) return;
    this.child = undefined;
    child.kill("SIGKILL");
    if (this.closed || !this.opened) return;
    this.deaths = performance.now() - this.startedAt > seriesEnds ? 1 : this.deaths + 1;
    const pause =
      this.deaths === 1 ? 0 : Math.min(pauses.first * 2 ** Math.min(this.deaths - 2, 20), pauses.longest);
    this.logDeath(error, pause);
    this.early.length = 0;
    for (const [id, handed] of [...this.handed]) {
      if (pause === 0 && id > this.begun && !handed.overdue) this.early.push(handed.question);
      else this.fail(id, new Error(`the policies' process died: ${error.message}`));
    }
    // Who fails to load has died, and is reported and started again as such.
    const next = () => void this.start().catch(() => {});
    if (pause === 0) next();
    else this.restart = setTimeout(next, pause);
  }

  private logDeath(error: Error, pause: number): void {
    const handed = this.handed.get(this.begun);
    const about = handed && {
      policy: handed.policy.name,
      on: handed.question.transaction.on,
      session: handed.question.transaction.session,
    };
    this.log.error({ ...about, err: error, deaths: this.deaths, restartMs: pause }, "policy process died");
  }
}

/** The error again, with `at`: file and line it was thrown at, outside of Node and installed packages. */
function asError({ name, message, stack }: ThrownError): Error {
  const places = stack.matchAll(/\(?((?:file:\/\/)?\/[^()\n]*:\d+:\d+)\)?$/gm);
  const own = [...places].map(([, place = ""]) => place).find((place) => !place.includes("/node_modules/"));
  return Object.assign(new Error(message), { name, stack }, own ? { at: own.replace("file://", "") } : {});
}
