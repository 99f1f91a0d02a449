import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { until } from "./until.ts";

const workspace = resolve(import.meta.dirname, "../..");
const bootScript = join(import.meta.dirname, "own-machine.sh");
const environment = [
  "env",
  "-i",
  "HOME=/root",
  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
];

/** What a command has said, both streams in one. */
export interface Said {
  text: string;
  status: number;
}

/**
 * A machine of a test's own, with systemd as its first process: this machine's programs and files under a layer that is
 * forgotten afterwards, and namespaces for its network (the loopback alone), processes, mounts and name. Ports below
 * 1024, /etc and systemctl are there as on a server. This workspace is what is installed in /opt/millrace.
 */
export class OwnMachine {
  private readonly folder = mkdtempSync("/dev/shm/millrace-machine-");
  private readonly group: string;
  private readonly holder: ChildProcess;
  private said = "";
  private pid = 0;

  /** Why there can be none here; undefined: there can. */
  static get impossible(): string | undefined {
    if (process.getuid?.() !== 0) return "needs root, for namespaces and mounts";
    if (!existsSync("/lib/systemd/systemd")) return "needs systemd's program; npm test installs it";
    return cgroups() === undefined ? "needs a file system of control groups, version 2" : undefined;
  }

  private constructor(hostname: string) {
    this.group = mkdtempSync(join(cgroups() as string, "millrace-machine-"));
    // In its group before it starts, so that the group is the root of what it sees.
    const enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"';
    const spaces = ["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--propagation", "private"];
    const boot = ["sh", bootScript, this.folder, workspace, hostname];
    // It goes when the test is killed.
    const end = ["setpriv", "--pdeathsig=KILL"];
    const words = ["-c", enter, this.group, ...end, "unshare", ...spaces, "--fork", "--kill-child", ...boot];
    this.holder = spawn("sh", words, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.holder.stdout, this.holder.stderr])
      stream?.on("data", (text) => {
        this.said += text;
      });
  }

  static async boot(hostname: string): Promise<OwnMachine> {
    const machine = new OwnMachine(hostname);
    try {
      await until(async () => {
        if (machine.holder.exitCode !== null) throw new Error(`the machine ended: ${machine.said}`);
        machine.pid ||= machine.firstProcess();
        if (machine.pid === 0) return false;
        // What waits for a network of the real world would never be there.
        return /^(running|degraded)$/m.test((await machine.run("systemctl is-system-running")).text);
      });
      return machine;
    } catch (error) {
      await machine.remove();
      throw error;
    }
  }

  /** Starts a shell with a script, as root in its home. */
  start(script: string): ChildProcess {
    const shell = [...environment, "sh", "-c", 'cd && exec sh -euc "$0"', script];
    const all = ["--target", String(this.pid), "--all", ...shell];
    return spawn("nsenter", all, { stdio: ["ignore", "pipe", "pipe"] });
  }

  /** Runs a script to its end; `-e` ends it at the first command that fails. */
  run(script: string): Promise<Said> {
    const child = this.start(script);
    let text = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (data) => {
        text += data;
      });
    return new Promise((done) => child.on("close", (status) => done({ text, status: status ?? 1 })));
  }

  /** @throws with all that it said, when its status is not 0 */
  async ran(script: string): Promise<string> {
    const { text, status } = await this.run(script);
    if (status !== 0) throw new Error(`status ${status} of\n${script}\n${text}`);
    return text;
  }

  /** Ends it as if its power were cut. */
  async remove(): Promise<void> {
    const gone = new Promise((done) => this.holder.once("exit", done));
    if (this.holder.exitCode === null && this.holder.signalCode === null) {
      this.holder.kill("SIGKILL");
      await gone;
    }
    await until(() => isEmpty(this.group));
    removeGroups(this.group);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** systemd, once it has taken the place of the script that prepares everything. */
  private firstProcess(): number {
    const children = `/proc/${this.holder.pid}/task/${this.holder.pid}/children`;
    if (!existsSync(children)) return 0;
    const pid = Number(readFileSync(children, "utf8").trim().split(" ")[0]);
    return pid > 0 && readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("/lib/systemd/systemd")
      ? pid
      : 0;
  }
}

/** Where control groups of version 2 are mounted. */
function cgroups(): string | undefined {
  const mounts = readFileSync("/proc/mounts", "utf8").split("\n");
  return mounts.map((line) => line.split(" ")).find(([, , kind]) => kind === "cgroup2")?.[1];
}

function isEmpty(group: string): boolean {
  return /^populated 0$/m.test(readFileSync(join(group, "cgroup.events"), "utf8"));
}

function removeGroups(group: string): void {
  for (const entry of readdirSync(group, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroups(join(group, entry.name));
  rmdirSync(group);
}
