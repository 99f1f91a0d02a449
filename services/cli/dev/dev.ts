import type { JournalEntry } from "@millrace/mail";
import { type Config, childEnvironment, exitStatus, loadConfig } from "@millrace/service";
import type { Command } from "commander";
import { positiveNumber } from "../numbers.ts";
import { colour, duration } from "../terminal.ts";
import { type LocalPipeline, startLocalPipeline } from "../up/local-pipeline.ts";
import { StartFailed } from "../up/supervisor.ts";
import { choosePort } from "./choose-port.ts";
import { type Session, startSession } from "./session.ts";
import { clock, stepLine } from "./step-line.ts";
import { shownPath, workerFiles } from "./worker-files.ts";
import { logLine, plainLine, readOutput } from "./worker-output.ts";

interface DevOptions {
  json?: boolean;
  verbose?: boolean;
  heap: number;
  inspect?: string | true;
}

export function addDevCommand(program: Command): void {
  program
    .command("dev")
    .description(
      "develop workers: the whole pipeline and your workers on this machine, each started anew when you save",
    )
    .argument(
      "[files...]",
      "workers' files (default: the package's `main`, `worker.ts`, or the only `*.worker.ts`)",
    )
    .option("--json", "print each step as a line of JSON; all else goes to standard error")
    .option("--verbose", "show all the pipeline's own logs, not only warnings")
    .option("--heap <MiB>", "heap a worker may have before it is ended", positiveNumber, 1024)
    .option("--inspect [host:port]", "let a debugger connect to the worker (Node's --inspect)")
    .action(dev);
}

async function dev(named: string[], options: DevOptions): Promise<void> {
  // Whoever reads our words may go away; that is no reason to leave children and a Redis behind.
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners("error");
    stream.on("error", () => {});
  }
  const startedAt = performance.now();
  const files = workerFiles(named, process.cwd());
  const env = await ownEnvironment();
  const config = await loadConfig(childEnvironment(env));
  const write = (text: string) => void (options.json ? process.stderr : process.stdout).write(`${text}\n`);
  const say = (text: string) => write(`${colour.dim(clock(Date.now()))}  ${colour.yellow(text)}`);
  const step = (entry: JournalEntry, subject: string | undefined) =>
    options.json ? void process.stdout.write(`${JSON.stringify(entry)}\n`) : write(stepLine(entry, subject));
  const interrupted = Promise.withResolvers<string>();
  let signals = 0;

  let status: number = exitStatus.ok;
  let local: LocalPipeline | undefined;
  let session: Session | undefined;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => (++signals === 1 ? interrupted.resolve(signal) : local?.kill()));
  }
  try {
    local = await startLocalPipeline(config, {
      ...{ edges: 1, say, inherit: false },
      env: options.verbose ? env : { ...env, LOG_LEVEL: "warn" },
      output: (stream) =>
        readOutput(stream, (line) =>
          write(
            typeof line === "string"
              ? plainLine(line)
              : `${logLine(line)}${colour.dim(`  ${line.name ?? ""}`)}`,
          ),
        ),
    });
    const first = await Promise.race([local.ready, interrupted.promise]);
    if (Array.isArray(first)) {
      session = await startSession({
        ...{ config, files, env, write, say, step, heapMb: options.heap },
        inspect: inspectOption(options.inspect, files.length),
      });
      const names = await Promise.race([session.names, interrupted.promise]);
      if (Array.isArray(names)) {
        write(await welcome(config, names, performance.now() - startedAt));
        await interrupted.promise;
      }
    }
    say("stopping");
  } catch (error) {
    // The process has said itself, in one line, what is wrong and how to mend it.
    if (!(error instanceof StartFailed)) throw error;
    status = error.status;
  } finally {
    await session?.stop();
    await local?.stop();
  }
  if (status === exitStatus.ok) say("stopped; all mail is kept, and the next start goes on with it");
  process.exit(status);
}

/**
 * What stands in the environment of all processes here, unless somebody has set it: a data folder of our own, ports
 * that are free, and a watchdog with the patience of somebody who waits.
 */
async function ownEnvironment(): Promise<Record<string, string>> {
  const given = childEnvironment();
  const [listener] = (await loadConfig()).listeners;
  // Where the configuration file says what to listen on, a port beside it would be an error.
  const ofSettings = listener?.called.port === "SMTP_PORT";
  const defaults = {
    MILLRACE_DATA_DIR: async () => "./.millrace",
    ...(ofSettings ? { SMTP_PORT: async () => String(await choosePort(listener.host, 2525)) } : {}),
    CONSOLE_PORT: async () => String(await choosePort(given.CONSOLE_HOST || "127.0.0.1", 8025)),
    WATCHDOG_SECONDS: async () => "10",
  };
  const own: Record<string, string> = {};
  for (const [name, value] of Object.entries(defaults)) if (!given[name]) own[name] = await value();
  return own;
}

function inspectOption(asked: DevOptions["inspect"], workers: number): string | undefined {
  if (asked === undefined) return undefined;
  if (asked !== true) return `--inspect=${asked}`;
  // Of several, each takes a port that is free, and says which.
  return workers === 1 ? "--inspect" : "--inspect=0";
}

async function welcome(
  config: Config,
  names: readonly (string | undefined)[],
  took: number,
): Promise<string> {
  const { settings, paths } = config;
  // What a command in another terminal would find by itself.
  const found = await loadConfig();
  const folder = found.paths.data === paths.data ? "" : `MILLRACE_DATA_DIR=${shownPath(paths.data)} `;
  const addresses = config.listeners.map(({ host, port }) => `${host}:${port}`);
  const moved = found.settings.SMTP_PORT !== settings.SMTP_PORT;
  const server = moved ? ` --server ${addresses[0]}` : "";
  const worker = names.find((name) => name !== undefined) ?? "<name>";
  const row = (name: string, value: string) => `${colour.dim(name.padEnd(11))}${value}`;
  return [
    "",
    `${colour.green("ready")} in ${duration(took)}; every save is live within a second`,
    row("smtp", addresses.join(", ")),
    row("data", shownPath(paths.data)),
    "",
    row("send mail", `npx millrace send --fixture invoice${server}`),
    row("", "npx millrace send --list-fixtures"),
    row("run again", `${folder}npx millrace replay last --worker ${worker}`),
    row("look", `${folder}npx millrace trace <id>`),
    "",
    colour.dim("Ctrl-C stops all of it."),
    "",
  ].join("\n");
}
