import { mkdirSync } from "node:fs";
import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Config, durabilityProblems, failFastRedis, maskSecrets, StartError } from "@millrace/service";
import { mainFile } from "../programs.ts";
import { holdDataFolder } from "./data-folder.ts";
import { prepareProxy } from "./local-proxy.ts";
import { type ManagedRedis, startRedis } from "./redis-server.ts";
import { type ServiceSpec, type Supervised, supervise } from "./supervisor.ts";

/** Milliseconds a process has to end in order: more than the longest commit and the longest hand-back. */
const stopWithin = 25_000;
/** Milliseconds for the last words of the edges to get through the proxy. */
const proxyEndsWithin = 2_000;

/**
 * An edge's octets live for the length of a write, and a large young generation only keeps them longer: with this
 * one an edge takes a quarter less memory under load, and more messages.
 */
const edgeNodeOptions = ["--max-semi-space-size=4"];

/** The processes of a whole pipeline on this machine. */
export interface LocalPipeline {
  /** Undefined when REDIS_URL names somebody else's. */
  redis: ManagedRedis | undefined;
  processes: readonly Supervised[];
  /** The proxy before the edges; undefined before they are ready, and when there is none. */
  proxy(): Supervised | undefined;
  /** What each process said when it was ready, in their order. Rejects with `StartFailed` when one could not start. */
  ready: Promise<Record<string, unknown>[]>;
  /** Ends the edges first and the proxy with them, then the workers, then Redis. */
  stop(): Promise<void>;
  /** Ends all processes at once. */
  kill(): void;
}

export interface PipelineOptions {
  edges: number;
  /** Of every process, beside our own environment. */
  env?: Record<string, string>;
  /** Told of each crash and restart, in words. */
  say: (text: string) => void;
  /** Takes what the processes write, unless `inherit` lets them write to our standard error themselves. */
  output: (stream: NodeJS.ReadableStream) => void;
  inherit: boolean;
}

/**
 * Starts Redis, edges and built-in workers, and keeps them running.
 * @throws StartError that says what is wrong with the folder or with Redis
 */
export async function startLocalPipeline(config: Config, options: PipelineOptions): Promise<LocalPipeline> {
  const { say, output, inherit } = options;
  mkdirSync(config.paths.data, { recursive: true });
  const release = holdDataFolder(config.paths.data);
  let redis: ManagedRedis | undefined;
  try {
    if (config.redisIsOurs) redis = await startRedis(config, say);
    else await checkRedis(config);
    if (redis?.adopted) say(`took over the redis that was left running (pid ${redis.pid})`);
    const prepared = config.proxy && (await prepareProxy(config, config.proxy, options.edges, say));
    const specs = serviceSpecs(config, options.edges, options.env ?? {});
    const processes = specs.map((spec) => supervise(spec, say, output, inherit));
    let proxy: Supervised | undefined;
    let unwatch: (() => void) | undefined;
    let stopping = false;
    const startProxy = async () => {
      if (!prepared || stopping) return;
      // Not before there are edges: to a proxy that has found them down they are so for seconds.
      proxy = supervise(prepared.spec, say, output, inherit);
      unwatch = prepared.watchCertificate(proxy);
      await proxy.ready;
    };
    const ready = Promise.all(processes.map((each) => each.ready)).then(async (all) => {
      await startProxy();
      return all;
    });
    ready.catch(() => {});
    return {
      ...{ redis, processes, ready },
      proxy: () => proxy,
      async stop() {
        stopping = true;
        unwatch?.();
        const edges = processes.filter(({ name }) => name.startsWith("edge"));
        const drain = config.settings.SMTP_DRAIN_SECONDS * 1_000;
        // From now on it takes no session, and ends with the last one.
        const proxyEnds = proxy?.stop(drain + 2 * stopWithin, prepared?.endSignal);
        // By a signal they drain first, for a balancer that is not ours to notice.
        const by = proxy ? "message" : "SIGTERM";
        await Promise.all(edges.map((each) => each.stop(drain + stopWithin, by)));
        // What a client has left open after the edge's last word is no reason to wait.
        await Promise.race([proxyEnds, sleep(proxyEndsWithin, undefined, { ref: false })]);
        await proxy?.stop(proxyEndsWithin);
        await Promise.all(processes.map((each) => each.stop(stopWithin)));
        await redis?.stop();
        release();
      },
      kill() {
        for (const each of [...processes, ...(proxy ? [proxy] : [])]) each.signal("SIGKILL");
      },
    };
  } catch (error) {
    await redis?.stop();
    release();
    throw error;
  }
}

function serviceSpecs(config: Config, edges: number, beside: Record<string, string>): ServiceSpec[] {
  const { EDGE_NUMBER } = config.settings;
  const cache = getCompileCacheDir();
  const env = { ...beside, ...(cache ? { NODE_COMPILE_CACHE: dirname(cache) } : {}) };
  const specs: ServiceSpec[] = ["parse", "store", "deliver"].map((name) => ({
    name,
    file: mainFile(name),
    env,
  }));
  for (let i = 0; i < edges; i++) {
    specs.push({
      name: edges === 1 ? "edge" : `edge-${i + 1}`,
      file: mainFile("edge"),
      env: { ...env, EDGE_NUMBER: String(EDGE_NUMBER + i) },
      nodeOptions: edgeNodeOptions,
    });
  }
  // Only webhooks carry links, and only the console serves them.
  const links = config.routes.some((route) => route.to.some((target) => "webhook" in target));
  if (links) specs.push({ name: "console", file: mainFile("console"), env });
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
