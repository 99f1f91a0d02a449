import {
  childEnvironment,
  edgePorts,
  exitStatus,
  loadConfig,
  portProblems,
  StartError,
} from "@millrace/service";
import { type Command, InvalidArgumentError, Option } from "commander";
import pretty from "pino-pretty";
import { colour, print } from "../terminal.ts";
import { type LocalPipeline, startLocalPipeline } from "./local-pipeline.ts";
import { StartFailed } from "./supervisor.ts";
import { welcome } from "./welcome.ts";

interface UpOptions {
  edges: number;
  proxy?: string;
  cert?: string;
  key?: string;
}

export function addUpCommand(program: Command): void {
  program
    .command("up")
    .description("run the whole pipeline on this machine: Redis, edges, workers")
    .option("--edges <n>", "how many edges, each on the ports after those of the last one", edgeCount, 1)
    .addOption(
      new Option(
        "--proxy <name>",
        "run a proxy before them, with TLS on port 4650 and STARTTLS on 5870 (UP_PROXY_… has more about it)",
      ).choices(["haproxy", "nginx"]),
    )
    .option(
      "--cert <file>",
      "the proxy's certificate with its chain, PEM; with the key in it, or with --key (default: one that is made here)",
    )
    .option("--key <file>", "its private key, PEM")
    .action(up);
}

function edgeCount(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError("give a whole number from 1 to 999.");
  return Number(text);
}

/** The settings that options stand for. */
function settingsOf({ proxy, cert, key }: UpOptions): Record<string, string> {
  return {
    ...(proxy && { UP_PROXY: proxy }),
    ...(cert && { UP_PROXY_CERT: cert, UP_PROXY_KEY: key ?? "" }),
    ...(key && { UP_PROXY_KEY: key }),
  };
}

async function up(options: UpOptions): Promise<void> {
  // Whoever reads our words may go away; that is no reason to leave children and a Redis behind.
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners("error");
    stream.on("error", () => {});
  }
  const startedAt = performance.now();
  const env = settingsOf(options);
  const config = await loadConfig(childEnvironment(env));
  for (const name of ["cert", "key"] as const) {
    if (options[name] && !config.proxy)
      throw new StartError(`--${name} ${options[name]} is for a proxy: give --proxy haproxy as well`);
  }
  const [portProblem] = portProblems(edgePorts(config), options.edges);
  if (portProblem) throw new StartError(`--edges ${options.edges}: ${portProblem}`);
  const say = (text: string) => void process.stderr.write(`${colour.yellow("millrace")} ${text}\n`);

  let pipeline: LocalPipeline | undefined;
  const interrupted = Promise.withResolvers<string>();
  let signals = 0;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (++signals === 1) return interrupted.resolve(signal);
      pipeline?.kill();
    });
  }

  let status: number = exitStatus.ok;
  try {
    pipeline = await startLocalPipeline(config, { edges: options.edges, env, say, ...childOutput() });
    const first = await Promise.race([pipeline.ready, interrupted.promise]);
    if (Array.isArray(first)) {
      await print(welcome(config, pipeline, first, performance.now() - startedAt));
      await interrupted.promise;
    }
    say("stopping: no new mail, finishing what is under way");
  } catch (error) {
    // The process has said itself, in one line, what is wrong and how to mend it.
    if (!(error instanceof StartFailed)) throw error;
    status = error.status;
  } finally {
    await pipeline?.stop();
  }
  if (status === exitStatus.ok) say("stopped; all mail is kept, and the next start goes on with it");
  process.exit(status);
}

/** On a terminal the processes' JSON lines are made readable; otherwise they go straight to our standard error. */
function childOutput(): { output: (stream: NodeJS.ReadableStream) => void; inherit: boolean } {
  if (!process.stderr.isTTY) return { output: () => {}, inherit: true };
  const stream = pretty({
    colorize: true,
    ignore: "pid,hostname",
    translateTime: "SYS:HH:MM:ss.l",
    destination: 2,
  });
  return { output: (stderr) => void stderr.pipe(stream, { end: false }), inherit: false };
}
