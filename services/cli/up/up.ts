import { mkdirSync } from "node:fs";
import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Config,
  durabilityProblems,
  exitStatus,
  failFastRedis,
  loadConfig,
  maskSecrets,
  StartError,
} from "@millrace/service";
import { type Command, InvalidArgumentError } from "commander";
import pretty from "pino-pretty";
import { colour, duration, print } from "../terminal.ts";
import { holdDataFolder } from "./data-folder.ts";
import { type ManagedRedis, startRedis } from "./redis-server.ts";
import { type ProcessSpec, StartFailed, type Supervised, supervise } from "./supervisor.ts";

/** Milliseconds a process has to end in order: more than the longest commit and the longest hand-back. */
const stopWithin = 25_000;

/**
 * An edge's octets live for the length of a write, and a large young generation only keeps them longer: with this
 * one an edge takes a quarter less memory under load, and more messages.
 */
const edgeNodeOptions = ["--max-semi-space-size=4"];

export function addUpCommand(program: Command): void {
  program
    .command("up")
    .description("run the whole pipeline on this machine: Redis, edges, workers")
    .option("--edges <n>", "how many edges: on SMTP_PORT and the ports after it", edgeCount, 1)
    .action(up);
}

function edgeCount(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError("give a whole number from 1 to 999.");
  return Number(text);
}

async function up(options: { edges: number }): Promise<void> {
  // Whoever reads our words may go away; that is no reason to leave children and a Redis behind.
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners("error");
    stream.on("error", () => {});
  }
  const startedAt = performance.now();
  const config = await loadConfig();
  mkdirSync(config.paths.data, { recursive: true });
  const release = holdDataFolder(config.paths.data);
  const say = (text: string) => void process.stderr.write(`${colour.yellow("millrace")} ${text}\n`);

  let redis: ManagedRedis | undefined;
  const processes: Supervised[] = [];
  const interrupted = Promise.withResolvers<string>();
  let signals = 0;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (++signals === 1) return interrupted.resolve(signal);
      for (const each of processes) if (each.pid()) process.kill(each.pid() as number, "SIGKILL");
    });
  }

  let status: number = exitStatus.ok;
  try {
    if (config.redisIsOurs) redis = await startRedis(config, say);
    else await checkRedis(config);
    if (redis?.adopted) say(`took over the redis that was left running (pid ${redis.pid})`);
    const { output, inherit } = childOutput();
    for (const spec of processSpecs(config, options.edges))
      processes.push(supervise(spec, say, output, inherit));
    const ready = Promise.all(processes.map((each) => each.ready));
    const first = await Promise.race([ready, interrupted.promise]);
    if (Array.isArray(first)) {
      await print(welcome(config, processes, first, redis, performance.now() - startedAt));
      await interrupted.promise;
    }
    say("stopping: no new mail, finishing what is under way");
  } catch (error) {
    // The process has said itself, in one line, what is wrong and how to mend it.
    if (!(error instanceof StartFailed)) throw error;
    status = error.status;
  } finally {
    const edges = processes.filter(({ name }) => name.startsWith("edge"));
    await Promise.all(edges.map((each) => each.stop(stopWithin)));
    await Promise.all(processes.map((each) => each.stop(stopWithin)));
    await redis?.stop();
    release();
  }
  if (status === exitStatus.ok) say("stopped; all mail is kept, and the next start goes on with it");
  process.exit(status);
}

function processSpecs(config: Config, edges: number): ProcessSpec[] {
  const main = (service: string) => fileURLToPath(new URL(`../../${service}/main.ts`, import.meta.url));
  const { SMTP_PORT } = config.settings;
  const cache = getCompileCacheDir();
  const env: Record<string, string> = cache ? { NODE_COMPILE_CACHE: dirname(cache) } : {};
  const specs: ProcessSpec[] = ["parse", "store", "deliver"].map((name) => ({ name, file: main(name), env }));
  for (let i = 0; i < edges; i++) {
    const port = SMTP_PORT === 0 ? 0 : SMTP_PORT + i;
    if (port > 65_535)
      throw new StartError(`SMTP_PORT=${SMTP_PORT} leaves no port for edge ${i + 1}: choose a lower one`);
    specs.push({
      name: edges === 1 ? "edge" : `edge-${i + 1}`,
      file: main("edge"),
      env: { ...env, SMTP_PORT: String(port) },
      nodeOptions: edgeNodeOptions,
    });
  }
  // Only webhooks carry links, and only the console serves them.
  const links = config.routes.some((route) => route.to.some((target) => "webhook" in target));
  if (links) specs.push({ name: "console", file: main("console"), env });
  return specs;
}

async function checkRedis(config: Config): Promise<void> {
  const shown = maskSecrets(config.redisUrl);
  const redis = failFastRedis(config.redisUrl, { lazyConnect: true, retryStrategy: () => null });
  try {
    await redis.connect();
    const [problem] = await durabilityProblems(redis);
    if (problem) throw new StartError(`REDIS_URL=${shown}: ${problem}`);
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(
      `REDIS_URL=${shown}: no Redis answers there (${(error as Error).message}); start it, correct it, or leave it out for one of our own`,
    );
  } finally {
    redis.disconnect();
  }
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

function welcome(
  config: Config,
  processes: readonly Supervised[],
  ready: readonly Record<string, unknown>[],
  redis: ManagedRedis | undefined,
  took: number,
): string {
  const edges = processes.flatMap(({ name }, i) =>
    name.startsWith("edge") ? [ready[i] as Record<string, unknown>] : [],
  );
  const addresses = edges.map(({ host, port }) => `${host}:${port}`);
  const routes = config.routes.map((route) => {
    const targets = route.to.map((target) => Object.entries(target)[0]?.join(" ") ?? "");
    return `  ${route.recipients.join(", ")} → ${maskSecrets(targets.join(", "))}`;
  });
  const row = (name: string, value: string) => `${colour.dim(name.padEnd(10))}${value}\n`;
  return [
    `${colour.green("ready")} in ${duration(took)}\n`,
    row("smtp", addresses.join(", ")),
    row(
      "redis",
      redis ? `our own, ${config.paths.redis} (pid ${redis.pid})` : String(maskSecrets(config.redisUrl)),
    ),
    row("mail", config.paths.mail),
    row("routes", config.file ?? "no configuration file: every recipient has a Maildir"),
    ...routes.map((route) => `${route}\n`),
    `\n${colour.dim("try")}\n`,
    "  npx millrace send --to you@example.com\n",
    "  npx millrace messages list\n",
    "  npx millrace status\n",
    `\n${colour.dim("Ctrl-C stops all of it.")}\n`,
  ].join("");
}
