import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { freePort } from "./free-port.ts";
import { until } from "./until.ts";

const command = resolve(import.meta.dirname, "../../services/cli/bin/millrace.mjs");

export interface Output {
  stdout: Buffer;
  stderr: string;
  status: number;
}

/** A command that goes on by itself. */
export interface Started {
  /** What it has written so far. */
  output(): string;
  /** Sends a signal and resolves with its exit status once it is gone. */
  end(signal: NodeJS.Signals): Promise<number | null>;
  stop(): Promise<void>;
}

/** A folder of a test's own, as a user's working folder: `millrace` is run in it. */
export class Installation {
  readonly folder = mkdtempSync(join(tmpdir(), "mr-"));
  readonly env: Record<string, string>;
  /** Whether its configuration says by itself what the edges listen on. */
  private readonly hasListeners: boolean;
  private process: ChildProcess | undefined;
  /** Milliseconds `up` may take to be ready. */
  startWithin = 60_000;
  /** What `up` has written so far. */
  output = "";
  /** Ports of the edges, once they are ready. */
  ports: number[] = [];

  /**
   * @param config written as `millrace.config.json`, if given
   * @param env beside a clean environment; `up` takes a free SMTP_PORT, and keeps it, unless it or `listeners` is set
   */
  constructor(options: { config?: object; env?: Record<string, string> } = {}) {
    const { PATH = "", HOME = "" } = process.env;
    this.env = { PATH, HOME, CONSOLE_PORT: "0", LOG_LEVEL: "warn", ...options.env };
    this.hasListeners = Object.hasOwn(options.config ?? {}, "listeners");
    if (options.config)
      writeFileSync(join(this.folder, "millrace.config.json"), JSON.stringify(options.config));
  }

  /**
   * Runs one command to its end.
   *
   * @param input what it reads on its standard input
   */
  async run(args: string[], env: Record<string, string> = {}, input?: string): Promise<Output> {
    try {
      const running = promisify(execFile)(process.execPath, [command, ...args], {
        cwd: this.folder,
        env: { ...this.env, ...env },
        encoding: "buffer",
        maxBuffer: 256 * 1024 * 1024,
      });
      if (input !== undefined) running.child.stdin?.end(input);
      const { stdout, stderr } = await running;
      return { stdout, stderr: stderr.toString(), status: 0 };
    } catch (error) {
      const { stdout, stderr, code } = error as { stdout: Buffer; stderr: Buffer; code: number };
      return { stdout, stderr: stderr?.toString() ?? "", status: code };
    }
  }

  /** Starts a command that goes on, such as `worker`; it shares what `up` runs. */
  start(args: string[]): Started {
    const child = spawn(process.execPath, [command, ...args], {
      cwd: this.folder,
      env: { ...this.env, LOG_LEVEL: "info" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data: Buffer) => {
        output += data.toString();
      });
    }
    const end = async (signal: NodeJS.Signals) => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill(signal);
        await once(child, "close");
      }
      return child.exitCode;
    };
    return { output: () => output, end, stop: async () => void (await end("SIGTERM")) };
  }

  async json<T>(...args: string[]): Promise<T> {
    const { stdout, stderr, status } = await this.run([...args, "--json"]);
    if (status !== 0) throw new Error(`millrace ${args.join(" ")}: status ${status}: ${stderr}`);
    return JSON.parse(stdout.toString()) as T;
  }

  /** Starts `millrace up` and resolves when it says it is ready. */
  async up(...args: string[]): Promise<void> {
    this.output = "";
    if (!this.hasListeners) this.env.SMTP_PORT ??= String(await freePort());
    const child = spawn(process.execPath, [command, "up", ...args], {
      cwd: this.folder,
      env: this.env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.process = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data: Buffer) => {
        this.output += data.toString();
      });
    }
    await until(() => {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`up ended with ${child.signalCode ?? `status ${child.exitCode}`}: ${this.output}`);
      return /Ctrl-C/.test(this.output);
    }, this.startWithin);
    const smtp = /^smtp\s+(.*)$/m.exec(this.output)?.[1] ?? "";
    this.ports = smtp.split(", ").map((address) => Number(address.split(":").at(-1)));
  }

  /** Closes our end of what `up` writes to, as a log reader that has died does. */
  stopListening(): void {
    this.process?.stdout?.destroy();
    this.process?.stderr?.destroy();
  }

  get port(): number {
    return this.ports[0] as number;
  }

  /** Pid of a process that `up` runs: a service's name, or "redis". */
  pidOf(name: string): number {
    const pid = this.pids(name)[0];
    if (pid === undefined) throw new Error(`no process ${name} is running`);
    return pid;
  }

  /** Pids of all processes of that name. */
  pids(name: string): number[] {
    const isOurs = (pid: number): boolean => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        // Redis shows its socket, which is under our folder; a service is a child of our `up`.
        if (name === "redis") return line.includes(`${this.folder}/var/redis/redis.sock`);
        const parent = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
        return line.includes(`services/${name}/main.ts`) && Number(parent) === this.process?.pid;
      } catch {
        return false;
      }
    };
    return readdirSync("/proc")
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number)
      .filter(isOurs);
  }

  /** Kills a process that `up` runs, and waits until another one stands in its place. */
  async killAndAwaitSuccessor(name: string): Promise<void> {
    const pid = this.pidOf(name);
    process.kill(pid, "SIGKILL");
    await until(() => this.pids(name).some((each) => each !== pid));
  }

  /** Ends `up` as Ctrl-C does; resolves with its status. */
  async down(signal: NodeJS.Signals = "SIGINT"): Promise<number | null> {
    const child = this.process;
    if (!child) return null;
    if (child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill(signal);
      await gone;
    }
    this.process = undefined;
    return child.exitCode;
  }

  /** Ends everything and removes the folder. */
  async remove(): Promise<void> {
    await this.down();
    for (const pid of this.pids("redis")) process.kill(pid, "SIGKILL");
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
