import { execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";

const workspace = resolve(import.meta.dirname, "../..");

/** How a command ended. */
export interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

/** A command that goes on by itself. */
export interface Running {
  /** What it has written so far. */
  output(): string;
  /** Ctrl-C. Resolves once all of it is gone. */
  end(): Promise<void>;
}

/**
 * A folder outside the workspace, of somebody who has npm and the Node of this machine, and who has never heard of the
 * workspace.
 */
export class UserFolder {
  readonly path = mkdtempSync(join(tmpdir(), "mr-user-"));
  readonly env = outsideEnvironment();
  private readonly started = new Set<Running>();

  write(file: string, content: string | object): void {
    writeFileSync(join(this.path, file), typeof content === "string" ? content : JSON.stringify(content));
  }

  /** Runs a command to its end, whatever that is. */
  run(program: string, ...words: string[]): Promise<Ended> {
    return this.runIn(".", program, ...words);
  }

  /** The same in a folder of it. */
  async runIn(folder: string, program: string, ...words: string[]): Promise<Ended> {
    const options = { cwd: join(this.path, folder), env: this.env, maxBuffer: 64 * 1024 * 1024 };
    try {
      return { status: 0, ...(await promisify(execFile)(program, words, options)) };
    } catch (error) {
      const { code, stdout, stderr, message } = error as Error & { code: unknown } & Ended;
      if (typeof code !== "number") throw new Error(`${program} ${words.join(" ")}: ${message}`);
      return { status: code, stdout, stderr };
    }
  }

  /** Starts a command in a process group of its own, as a terminal does. */
  start(program: string, ...words: string[]): Running {
    const options = { cwd: this.path, env: this.env, detached: true } as const;
    const child = spawn(program, words, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data: Buffer) => {
        output += data.toString();
      });
    }
    // Its output closes when the last process that writes to it is gone, and not only the first.
    const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
    const running = {
      output: () => output,
      end: () => {
        if (this.started.delete(running)) process.kill(-(child.pid as number), "SIGINT");
        return gone;
      },
    };
    this.started.add(running);
    return running;
  }

  /** Ends whatever was started and still goes on. */
  async stopAll(): Promise<void> {
    await Promise.all([...this.started].map((each) => each.end()));
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** This process's environment without what npm, the test runner and the workspace have put there. */
function outsideEnvironment(): NodeJS.ProcessEnv {
  const inherited =
    /^(npm_(package|lifecycle)_.*|npm_(command|execpath|node_execpath)|npm_config_local_prefix|INIT_CWD|NODE|NODE_.*|REDIS_URL|MILLRACE_.*)$/;
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !inherited.test(name)));
  const folders = (env.PATH ?? "").split(delimiter).filter((folder) => !folder.startsWith(workspace));
  return { ...env, PATH: folders.filter((folder) => !folder.includes("node_modules")).join(delimiter) };
}
